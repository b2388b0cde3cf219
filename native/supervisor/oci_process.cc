#include "supervisor/oci_process.h"

#include <cstdio>
#include <iterator>
#include <vector>

namespace cais {

namespace {

// By number, as in <linux/capability.h>.
constexpr const char* kCapabilities[] = {"CHOWN",
                                         "DAC_OVERRIDE",
                                         "DAC_READ_SEARCH",
                                         "FOWNER",
                                         "FSETID",
                                         "KILL",
                                         "SETGID",
                                         "SETUID",
                                         "SETPCAP",
                                         "LINUX_IMMUTABLE",
                                         "NET_BIND_SERVICE",
                                         "NET_BROADCAST",
                                         "NET_ADMIN",
                                         "NET_RAW",
                                         "IPC_LOCK",
                                         "IPC_OWNER",
                                         "SYS_MODULE",
                                         "SYS_RAWIO",
                                         "SYS_CHROOT",
                                         "SYS_PTRACE",
                                         "SYS_PACCT",
                                         "SYS_ADMIN",
                                         "SYS_BOOT",
                                         "SYS_NICE",
                                         "SYS_RESOURCE",
                                         "SYS_TIME",
                                         "SYS_TTY_CONFIG",
                                         "MKNOD",
                                         "LEASE",
                                         "AUDIT_WRITE",
                                         "AUDIT_CONTROL",
                                         "SETFCAP",
                                         "MAC_OVERRIDE",
                                         "MAC_ADMIN",
                                         "SYSLOG",
                                         "WAKE_ALARM",
                                         "BLOCK_SUSPEND",
                                         "AUDIT_READ",
                                         "PERFMON",
                                         "BPF",
                                         "CHECKPOINT_RESTORE"};

// By RLIMIT_* number of <asm-generic/resource.h>.
constexpr const char* kLimits[] = {"CPU",      "FSIZE",  "DATA",    "STACK", "CORE",  "RSS",
                                   "NPROC",    "NOFILE", "MEMLOCK", "AS",    "LOCKS", "SIGPENDING",
                                   "MSGQUEUE", "NICE",   "RTPRIO",  "RTTIME"};

std::string Quoted(const std::string& text) {
  std::string json = "\"";
  for (const char byte : text) {
    const auto code = static_cast<unsigned char>(byte);
    if (byte == '"' || byte == '\\') {
      json += '\\';
      json += byte;
    } else if (code < 0x20) {
      char escaped[8];
      snprintf(escaped, sizeof escaped, "\\u%04x", code);
      json += escaped;
    } else {
      json += byte;
    }
  }
  return json + '"';
}

std::string Array(const std::vector<std::string>& elements) {
  std::string json = "[";
  for (size_t i = 0; i < elements.size(); ++i) json += (i == 0 ? "" : ",") + elements[i];
  return json + "]";
}

std::string Strings(const std::vector<std::string>& texts) {
  std::vector<std::string> quoted;
  for (const std::string& text : texts) quoted.push_back(Quoted(text));
  return Array(quoted);
}

std::string CapabilitySet(const char* name, uint64_t mask) {
  std::vector<std::string> names;
  for (size_t bit = 0; bit < std::size(kCapabilities); ++bit) {
    if ((mask >> bit & 1) != 0) names.push_back(Quoted(std::string("CAP_") + kCapabilities[bit]));
  }
  return Quoted(name) + ":" + Array(names);
}

std::string User(const LaunchSpec& spec) {
  std::vector<std::string> groups;
  for (const gid_t group : spec.credentials.groups) groups.push_back(std::to_string(group));
  return "{\"uid\":" + std::to_string(spec.credentials.uid) +
         ",\"gid\":" + std::to_string(spec.credentials.gid) +
         ",\"umask\":" + std::to_string(spec.umask) + ",\"additionalGids\":" + Array(groups) + "}";
}

std::string Limits(const LaunchSpec& spec) {
  std::vector<std::string> limits;
  // -1 is infinity, which the kernel writes as the largest number.
  const auto value = [](int64_t number) { return std::to_string(static_cast<uint64_t>(number)); };
  for (const LaunchRlimit& limit : spec.rlimits) {
    limits.push_back("{\"type\":\"RLIMIT_" + std::string(kLimits[limit.resource]) +
                     "\",\"soft\":" + value(limit.soft) + ",\"hard\":" + value(limit.hard) + "}");
  }
  return Array(limits);
}

}  // namespace

std::string OciProcessJson(const LaunchSpec& spec) {
  const Credentials& credentials = spec.credentials;
  const std::string& cwd = spec.working_directory;
  const std::vector<std::string> capabilities = {
      CapabilitySet("bounding", credentials.bounding),
      CapabilitySet("effective", credentials.effective),
      CapabilitySet("permitted", credentials.permitted),
      CapabilitySet("inheritable", credentials.inheritable),
      CapabilitySet("ambient", credentials.ambient)};
  std::string sets;
  for (const std::string& set : capabilities) sets += (sets.empty() ? "" : ",") + set;
  return std::string("{\"terminal\":") + (spec.terminal ? "true" : "false") +
         ",\"user\":" + User(spec) + ",\"args\":" + Strings(spec.arguments) +
         ",\"env\":" + Strings(spec.environment) + ",\"cwd\":" + Quoted(cwd.empty() ? "/" : cwd) +
         ",\"capabilities\":{" + sets + "},\"rlimits\":" + Limits(spec) +
         ",\"noNewPrivileges\":" + (credentials.no_new_privileges ? "true" : "false") + "}";
}

}  // namespace cais
