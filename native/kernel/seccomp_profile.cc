#include "kernel/seccomp_profile.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <type_traits>
#include <utility>

#include "kernel/unique_fd.h"

namespace cais {

namespace {

// System calls that came after the libseccomp of Debian 12. From 424 on every architecture has the
// same numbers (Linux, scripts/syscall.tbl).
constexpr std::pair<std::string_view, uint32_t> kNewerSystemCalls[] = {
    {"cachestat", 451},         {"fchmodat2", 452},        {"map_shadow_stack", 453},
    {"futex_wake", 454},        {"futex_wait", 455},       {"futex_requeue", 456},
    {"statmount", 457},         {"listmount", 458},        {"lsm_get_self_attr", 459},
    {"lsm_set_self_attr", 460}, {"lsm_list_modules", 461}, {"mseal", 462},
    {"setxattrat", 463},        {"getxattrat", 464},       {"listxattrat", 465},
    {"removexattrat", 466},     {"open_tree_attr", 467},   {"file_getattr", 468},
    {"file_setattr", 469},      {"listns", 470},
};

// No architecture has a number of its own at or above this; only x32 sets the bit.
constexpr uint32_t kX32Bit = 0x40000000;
// Search starts here for the newest number that libseccomp has a name for.
constexpr int kHighestNumberTried = 1024;

constexpr std::pair<std::string_view, uint32_t> kArchitectures[] = {
    {"SCMP_ARCH_X86", SCMP_ARCH_X86},
    {"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64},
    {"SCMP_ARCH_X32", SCMP_ARCH_X32},
    {"SCMP_ARCH_ARM", SCMP_ARCH_ARM},
    {"SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64},
    {"SCMP_ARCH_MIPS", SCMP_ARCH_MIPS},
    {"SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64},
    {"SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32},
    {"SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL},
    {"SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64},
    {"SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32},
    {"SCMP_ARCH_PPC", SCMP_ARCH_PPC},
    {"SCMP_ARCH_PPC64", SCMP_ARCH_PPC64},
    {"SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE},
    {"SCMP_ARCH_S390", SCMP_ARCH_S390},
    {"SCMP_ARCH_S390X", SCMP_ARCH_S390X},
    {"SCMP_ARCH_PARISC", SCMP_ARCH_PARISC},
    {"SCMP_ARCH_PARISC64", SCMP_ARCH_PARISC64},
    {"SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64},
};

constexpr std::pair<std::string_view, scmp_compare> kOperators[] = {
    {"SCMP_CMP_NE", SCMP_CMP_NE},
    {"SCMP_CMP_LT", SCMP_CMP_LT},
    {"SCMP_CMP_LE", SCMP_CMP_LE},
    {"SCMP_CMP_EQ", SCMP_CMP_EQ},
    {"SCMP_CMP_GE", SCMP_CMP_GE},
    {"SCMP_CMP_GT", SCMP_CMP_GT},
    {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
};

Failure BadProfile(std::string message) {
  return Refuse("BAD_SECCOMP_PROFILE", "The seccomp profile " + std::move(message));
}

// libseccomp answers with negative errno values.
Failure LibraryFailure(int error, const char* step, std::string what = {}) {
  return Failure{-error, step, std::move(what), {}};
}

template <typename Table>
auto Find(const Table& table, std::string_view name)
    -> std::optional<decltype(std::begin(table)->second)> {
  for (const auto& [key, value] : table) {
    if (key == name) return value;
  }
  return std::nullopt;
}

// The action in libseccomp's terms. SECCOMP_RET_* has the same values, so that it also serves in
// instructions of our own.
Result<uint32_t> ParseAction(const std::string& name, int64_t errno_ret) {
  constexpr int64_t kMaxErrno = 4095;
  if (errno_ret > kMaxErrno) return BadProfile("has the errno value " + std::to_string(errno_ret));
  const auto error = static_cast<uint32_t>(errno_ret < 0 ? EPERM : errno_ret);
  if (name == "SCMP_ACT_ALLOW") return uint32_t{SCMP_ACT_ALLOW};
  if (name == "SCMP_ACT_ERRNO") return uint32_t{SCMP_ACT_ERRNO(error)};
  if (name == "SCMP_ACT_KILL" || name == "SCMP_ACT_KILL_THREAD") {
    return uint32_t{SCMP_ACT_KILL_THREAD};
  }
  if (name == "SCMP_ACT_KILL_PROCESS") return uint32_t{SCMP_ACT_KILL_PROCESS};
  if (name == "SCMP_ACT_TRAP") return uint32_t{SCMP_ACT_TRAP};
  if (name == "SCMP_ACT_TRACE") return uint32_t{SCMP_ACT_TRACE(error)};
  if (name == "SCMP_ACT_LOG") return uint32_t{SCMP_ACT_LOG};
  if (name == "SCMP_ACT_NOTIFY") {
    return BadProfile("uses SCMP_ACT_NOTIFY, which needs a listener and is not supported");
  }
  return BadProfile("has the unknown action \"" + name + "\"");
}

struct ContextDeleter {
  void operator()(void* context) const { seccomp_release(context); }
};
using Context = std::unique_ptr<std::remove_pointer_t<scmp_filter_ctx>, ContextDeleter>;

struct FreeDeleter {
  void operator()(char* text) const { free(text); }
};

// Answers for calls that are newer than libseccomp, by number.
using NewerAnswers = std::vector<std::pair<uint32_t, uint32_t>>;

Status AddRule(scmp_filter_ctx context, const SeccompRule& rule, uint32_t action,
               NewerAnswers* newer) {
  std::vector<scmp_arg_cmp> conditions;
  std::set<uint32_t> indexes;
  for (const SeccompArgument& argument : rule.arguments) {
    const auto op = Find(kOperators, argument.op);
    if (!op) return BadProfile("has the unknown comparison \"" + argument.op + "\"");
    if (argument.index > 5) {
      return BadProfile("names the argument " + std::to_string(argument.index));
    }
    conditions.push_back({argument.index, *op, argument.value, argument.value_two});
    indexes.insert(argument.index);
  }
  for (const std::string& name : rule.names) {
    const int number = seccomp_syscall_resolve_name(name.c_str());
    if (number == __NR_SCMP_ERROR) {
      const auto newer_number = Find(kNewerSystemCalls, name);
      if (newer_number && conditions.empty()) newer->emplace_back(*newer_number, action);
      continue;
    }
    int error = 0;
    if (indexes.size() == conditions.size()) {
      error = seccomp_rule_add_array(context, action, number,
                                     static_cast<unsigned>(conditions.size()), conditions.data());
    } else {
      // Two conditions on one argument cannot be joined by "and" in one rule; the OCI runtimes take
      // them as alternatives.
      for (size_t i = 0; i < conditions.size() && error == 0; ++i) {
        error = seccomp_rule_add_array(context, action, number, 1, &conditions[i]);
      }
    }
    // -EEXIST: the same rule was there before. -EFAULT or -EDOM is what a call unknown to one of
    // the architectures answers.
    if (error != 0 && error != -EEXIST) return LibraryFailure(error, "add seccomp rule", name);
  }
  return Done{};
}

// The newest number that libseccomp has a name for on this machine.
uint32_t NewestKnownNumber() {
  for (int number = kHighestNumberTried; number > 0; --number) {
    std::unique_ptr<char, FreeDeleter> name(
        seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number));
    if (name != nullptr) return static_cast<uint32_t>(number);
  }
  return kHighestNumberTried;
}

sock_filter Statement(uint16_t code, uint32_t k) { return sock_filter{code, 0, 0, k}; }
sock_filter Jump(uint16_t code, uint32_t k, size_t if_true, size_t if_false) {
  return sock_filter{code, static_cast<uint8_t>(if_true), static_cast<uint8_t>(if_false), k};
}

// Instructions that answer for numbers above `newest_known` and let every other one through:
//
//   A = arch; one of ours? no -> end (libseccomp's own check refuses it)
//   A = nr; x32 -> end; nr <= newest_known -> end
//   nr one of `newer`? its answer
//   ENOSYS
//   end:
std::vector<sock_filter> NewerCallsPrologue(const std::vector<uint32_t>& architectures,
                                            const NewerAnswers& newer, uint32_t newest_known) {
  std::vector<sock_filter> code;
  const size_t tail = 3 + 2 * newer.size() + 1;  // from "A = nr" to the end
  code.push_back(Statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)));
  for (size_t i = 0; i < architectures.size(); ++i) {
    // Over the remaining comparisons and the jump to the end.
    code.push_back(Jump(BPF_JMP | BPF_JEQ | BPF_K, architectures[i], architectures.size() - i, 0));
  }
  code.push_back(Statement(BPF_JMP | BPF_JA, static_cast<uint32_t>(tail)));
  code.push_back(Statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  code.push_back(Jump(BPF_JMP | BPF_JGE | BPF_K, kX32Bit, tail - 2, 0));
  code.push_back(Jump(BPF_JMP | BPF_JGT | BPF_K, newest_known, 0, tail - 3));
  for (const auto& [number, answer] : newer) {
    code.push_back(Jump(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    code.push_back(Statement(BPF_RET | BPF_K, answer));
  }
  code.push_back(Statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
  return code;
}

// True when the profile looks at the arguments of socket(2) and does not itself speak of
// socketcall.
bool GuardsSocket(const SeccompProfile& profile) {
  bool guards = false;
  for (const SeccompRule& rule : profile.rules) {
    for (const std::string& name : rule.names) {
      if (name == "socketcall") return false;
      if (name == "socket" && !rule.arguments.empty()) guards = true;
    }
  }
  return guards;
}

// Instructions that answer for socketcall(SYS_SOCKET) of 32-bit x86 and let everything else
// through. Its arguments are in memory, where no filter can look; libseccomp would let it pass
// whenever a rule lets some socket(2) pass.
std::vector<sock_filter> SocketcallPrologue(uint32_t answer) {
  constexpr uint32_t kSocketcall = 102;
  constexpr uint32_t kSysSocket = 1;  // <linux/net.h>
  return {
      Statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      Jump(BPF_JMP | BPF_JEQ | BPF_K, SCMP_ARCH_X86, 0, 5),
      Statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      Jump(BPF_JMP | BPF_JEQ | BPF_K, kSocketcall, 0, 3),
      Statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
      Jump(BPF_JMP | BPF_JEQ | BPF_K, kSysSocket, 0, 1),
      Statement(BPF_RET | BPF_K, answer),
  };
}

Result<std::string> ExportProgram(scmp_filter_ctx context) {
  UniqueFd file(memfd_create("cais-seccomp", MFD_CLOEXEC));
  if (!file) return Errno("memfd_create");
  const int error = seccomp_export_bpf(context, file.get());
  if (error != 0) return LibraryFailure(error, "export seccomp program");
  std::string program;
  char piece[16 << 10];
  for (;;) {
    const ssize_t count =
        pread(file.get(), piece, sizeof piece, static_cast<off_t>(program.size()));
    if (count < 0) return Errno("read seccomp program");
    if (count == 0) return program;
    program.append(piece, static_cast<size_t>(count));
  }
}

}  // namespace

Result<std::string> CompileSeccompProfile(const SeccompProfile& profile) {
  Result<uint32_t> default_action = ParseAction(profile.default_action, profile.default_errno_ret);
  if (!default_action.ok()) return default_action.failure();
  Context context(seccomp_init(default_action.value()));
  if (context == nullptr) {
    return BadProfile("has a default action that libseccomp refuses: \"" + profile.default_action +
                      "\"");
  }
  // Numbers of AUDIT_ARCH; x32 shares that of x86-64 and is told apart by a bit of the number.
  std::vector<uint32_t> audit_architectures = {seccomp_arch_native()};
  for (const std::string& name : profile.architectures) {
    const auto token = Find(kArchitectures, name);
    if (!token) return BadProfile("has the unknown architecture \"" + name + "\"");
    const int error = seccomp_arch_add(context.get(), *token);
    if (error == -EEXIST) continue;
    if (error != 0) return LibraryFailure(error, "add seccomp architecture", name);
    if (*token != SCMP_ARCH_X32) audit_architectures.push_back(*token);
  }
  NewerAnswers newer;
  for (const SeccompRule& rule : profile.rules) {
    Result<uint32_t> action = ParseAction(rule.action, rule.errno_ret);
    if (!action.ok()) return action.failure();
    if (action.value() == default_action.value()) continue;  // libseccomp refuses those as useless
    Status added = AddRule(context.get(), rule, action.value(), &newer);
    if (!added.ok()) return added.failure();
  }
  Result<std::string> program = ExportProgram(context.get());
  if (!program.ok()) return program.failure();

  std::string bytes;
  const uint32_t kind = default_action.value() & SECCOMP_RET_ACTION_FULL;
  if (kind == SECCOMP_RET_ERRNO || kind == SECCOMP_RET_KILL_PROCESS ||
      kind == SECCOMP_RET_KILL_THREAD || kind == SECCOMP_RET_TRAP) {
    std::vector<sock_filter> prologue;
    if (GuardsSocket(profile)) prologue = SocketcallPrologue(default_action.value());
    const std::vector<sock_filter> newer_calls =
        NewerCallsPrologue(audit_architectures, newer, NewestKnownNumber());
    prologue.insert(prologue.end(), newer_calls.begin(), newer_calls.end());
    bytes.append(reinterpret_cast<const char*>(prologue.data()),
                 prologue.size() * sizeof(sock_filter));
  }
  bytes += program.value();
  if (bytes.size() > BPF_MAXINSNS * sizeof(sock_filter)) {
    return BadProfile("needs " + std::to_string(bytes.size() / sizeof(sock_filter)) +
                      " instructions, more than the kernel's " + std::to_string(BPF_MAXINSNS));
  }
  return bytes;
}

}  // namespace cais
