#include "kernel/device_program.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "kernel/unique_fd.h"

namespace cais {

namespace {

constexpr uint32_t kMaxProgramsQueried = 64;  // the kernel's BPF_CGROUP_MAX_PROGS

int Bpf(bpf_cmd command, bpf_attr* attributes) {
  return static_cast<int>(syscall(SYS_bpf, command, attributes, sizeof *attributes));
}

// The instructions used here, as in Documentation/bpf/standardization/instruction-set.rst.
bpf_insn LoadWord(uint8_t to, uint8_t from, size_t offset) {
  return {BPF_LDX | BPF_W | BPF_MEM, to, from, static_cast<int16_t>(offset), 0};
}
bpf_insn Compute(uint8_t operation, uint8_t to, uint32_t value) {
  return {static_cast<uint8_t>(BPF_ALU | operation | BPF_K), to, 0, 0, static_cast<int32_t>(value)};
}
bpf_insn Copy(uint8_t to, uint8_t from) { return {BPF_ALU | BPF_MOV | BPF_X, to, from, 0, 0}; }
bpf_insn SkipUnlessEqual(uint8_t left, uint32_t value) {
  return {BPF_JMP | BPF_JNE | BPF_K, left, 0, 0, static_cast<int32_t>(value)};
}
bpf_insn Exit() { return {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}; }

uint32_t AccessBits(const std::string& access) {
  uint32_t bits = 0;
  for (const char letter : access) {
    if (letter == 'r') bits |= BPF_DEVCG_ACC_READ;
    if (letter == 'w') bits |= BPF_DEVCG_ACC_WRITE;
    if (letter == 'm') bits |= BPF_DEVCG_ACC_MKNOD;
  }
  return bits;
}

// Registers: R2 type, R3 access wanted, R4 major, R5 minor; R1 scratch; R0 the answer. The last
// rule that matches decides, so the program tries them from the last to the first:
//
//   for each rule: skip to the next unless type, major, minor are equal and
//     allow: every access wanted is among the rule's
//     deny: any access wanted is among the rule's
//   answer
std::vector<bpf_insn> DeviceProgram(const std::vector<DeviceRule>& rules) {
  constexpr uint32_t kAllAccess = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE | BPF_DEVCG_ACC_MKNOD;
  std::vector<bpf_insn> code = {
      LoadWord(BPF_REG_2, BPF_REG_1, offsetof(bpf_cgroup_dev_ctx, access_type)),
      Copy(BPF_REG_3, BPF_REG_2),
      Compute(BPF_AND, BPF_REG_2, 0xffff),
      Compute(BPF_RSH, BPF_REG_3, 16),
      LoadWord(BPF_REG_4, BPF_REG_1, offsetof(bpf_cgroup_dev_ctx, major)),
      LoadWord(BPF_REG_5, BPF_REG_1, offsetof(bpf_cgroup_dev_ctx, minor)),
  };
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    std::vector<bpf_insn> body;
    if (rule->type != 'a') {
      body.push_back(
          SkipUnlessEqual(BPF_REG_2, rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR));
      if (rule->major >= 0) {
        body.push_back(SkipUnlessEqual(BPF_REG_4, static_cast<uint32_t>(rule->major)));
      }
      if (rule->minor >= 0) {
        body.push_back(SkipUnlessEqual(BPF_REG_5, static_cast<uint32_t>(rule->minor)));
      }
      const uint32_t access = AccessBits(rule->access);
      body.push_back(Copy(BPF_REG_1, BPF_REG_3));
      body.push_back(Compute(BPF_AND, BPF_REG_1, rule->allow ? kAllAccess & ~access : access));
      bpf_insn test = SkipUnlessEqual(BPF_REG_1, 0);
      if (!rule->allow) test.code = BPF_JMP | BPF_JEQ | BPF_K;
      body.push_back(test);
    }
    body.push_back(Compute(BPF_MOV, BPF_REG_0, rule->allow ? 1 : 0));
    body.push_back(Exit());
    for (size_t i = 0; i < body.size(); ++i) {
      const uint8_t operation = BPF_OP(body[i].code);
      if (BPF_CLASS(body[i].code) == BPF_JMP && operation != BPF_EXIT) {
        body[i].off = static_cast<int16_t>(body.size() - i - 1);
      }
    }
    code.insert(code.end(), body.begin(), body.end());
    // It matches everything: what stood before it has no effect, and the kernel refuses
    // instructions that are never reached.
    if (rule->type == 'a') return code;
  }
  code.push_back(Compute(BPF_MOV, BPF_REG_0, 0));
  code.push_back(Exit());
  return code;
}

Result<UniqueFd> LoadProgram(const std::vector<bpf_insn>& code) {
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attributes.insns = reinterpret_cast<uint64_t>(code.data());
  attributes.insn_cnt = static_cast<uint32_t>(code.size());
  attributes.license = reinterpret_cast<uint64_t>("Apache-2.0");
  memcpy(attributes.prog_name, "cais_device", sizeof "cais_device");
  UniqueFd program(Bpf(BPF_PROG_LOAD, &attributes));
  if (!program) return Errno("load device program");
  return program;
}

Result<std::vector<uint32_t>> AttachedPrograms(int cgroup_fd) {
  std::vector<uint32_t> ids(kMaxProgramsQueried);
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.query.target_fd = static_cast<uint32_t>(cgroup_fd);
  attributes.query.attach_type = BPF_CGROUP_DEVICE;
  attributes.query.prog_ids = reinterpret_cast<uint64_t>(ids.data());
  attributes.query.prog_cnt = kMaxProgramsQueried;
  if (Bpf(BPF_PROG_QUERY, &attributes) != 0) return Errno("query device programs");
  ids.resize(attributes.query.prog_cnt);
  return ids;
}

void Detach(int cgroup_fd, uint32_t id) {
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.prog_id = id;
  const UniqueFd program(Bpf(BPF_PROG_GET_FD_BY_ID, &attributes));
  if (!program) return;  // gone meanwhile
  memset(&attributes, 0, sizeof attributes);
  attributes.target_fd = static_cast<uint32_t>(cgroup_fd);
  attributes.attach_bpf_fd = static_cast<uint32_t>(program.get());
  attributes.attach_type = BPF_CGROUP_DEVICE;
  (void)Bpf(BPF_PROG_DETACH, &attributes);
}

}  // namespace

Status AttachDeviceProgram(const std::string& directory, const std::vector<DeviceRule>& rules) {
  const UniqueFd cgroup(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup) return Errno("open", directory);
  Result<UniqueFd> program = LoadProgram(DeviceProgram(rules));
  if (!program.ok()) return program.failure();
  Result<std::vector<uint32_t>> old = AttachedPrograms(cgroup.get());
  if (!old.ok()) return old.failure();
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.target_fd = static_cast<uint32_t>(cgroup.get());
  attributes.attach_bpf_fd = static_cast<uint32_t>(program.value().get());
  attributes.attach_type = BPF_CGROUP_DEVICE;
  attributes.attach_flags = BPF_F_ALLOW_MULTI;
  if (Bpf(BPF_PROG_ATTACH, &attributes) != 0) return Errno("attach device program to", directory);
  // The new one first: at no moment is the cgroup without rules.
  for (const uint32_t id : old.value()) Detach(cgroup.get(), id);
  return Done{};
}

}  // namespace cais
