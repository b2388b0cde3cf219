#include "addon/cgroup_binding.h"

#include <climits>

#include "addon/async_task.h"
#include "addon/napi_args.h"
#include "kernel/cgroup.h"

namespace cais {

namespace {

DeviceRule ReadDeviceRule(const Arg& object, Args* args) {
  DeviceRule rule;
  rule.allow = object.Field("allow").Boolean();
  const std::string type = object.Field("type").Text();
  rule.major = object.Field("major").Integer(-1, UINT_MAX);
  rule.minor = object.Field("minor").Integer(-1, UINT_MAX);
  rule.access = object.Field("access").Text();
  if (type != "a" && type != "b" && type != "c") {
    args->Fail(object.name() + ".type: expected \"a\", \"b\" or \"c\"");
  } else {
    rule.type = type[0];
  }
  if (rule.access.find_first_not_of("rwm") != std::string::npos || rule.access.empty()) {
    args->Fail(object.name() + ".access: expected letters of \"rwm\"");
  }
  return rule;
}

CgroupLimits ReadLimits(const Arg& object, Args* args) {
  CgroupLimits limits;
  limits.cpu_shares = object.Field("cpuShares").OptionalInteger(0);
  limits.cpu_quota_micros = object.Field("cpuQuotaMicros").OptionalInteger(-1);
  limits.cpu_period_micros = object.Field("cpuPeriodMicros").OptionalInteger(0);
  limits.cpuset_cpus = object.Field("cpusetCpus").OptionalText();
  limits.cpuset_mems = object.Field("cpusetMems").OptionalText();
  limits.memory_limit_bytes = object.Field("memoryLimitBytes").OptionalInteger(-1);
  limits.memory_swap_limit_bytes = object.Field("memorySwapLimitBytes").OptionalInteger(-1);
  limits.pids_limit = object.Field("pidsLimit").OptionalInteger(-1);
  const Arg hugepages = object.Field("hugepageLimits");
  if (!hugepages.absent()) {
    for (const Arg& limit : hugepages.List()) {
      const std::string size = limit.Field("pageSize").Text();
      // A part of a file's name.
      if (size.find_first_not_of("0123456789KMGTB") != std::string::npos) {
        args->Fail(limit.name() + ".pageSize: expected a size such as \"2MB\"");
      }
      limits.hugepages.emplace_back(size, limit.Field("limitBytes").Integer(-1));
    }
  }
  const Arg unified = object.Field("unified");
  if (!unified.absent()) limits.unified = unified.TextMap();
  const Arg devices = object.Field("devices");
  if (!devices.absent()) {
    limits.devices.emplace();
    for (const Arg& rule : devices.List()) limits.devices->push_back(ReadDeviceRule(rule, args));
  }
  return limits;
}

Napi::Array Strings(Napi::Env env, const std::vector<std::string>& strings) {
  Napi::Array array = Napi::Array::New(env, strings.size());
  for (uint32_t i = 0; i < strings.size(); ++i) array.Set(i, Napi::String::New(env, strings[i]));
  return array;
}

Napi::Object HierarchyObject(Napi::Env env, const CgroupHierarchy& hierarchy) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("controllers", Strings(env, hierarchy.controllers));
  object.Set("mountpoint", hierarchy.mountpoint);
  return object;
}

// For loops that wait: true once the environment is ending.
std::function<bool()> Abandoned(Napi::Env env) {
  AsyncPool* pool = &Data(env).pool;
  return [pool] { return pool->stopping(); };
}

}  // namespace

Napi::Value CgroupLayout(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Result<CgroupMounts> layout = ReadCgroupMounts();
  if (!layout.ok()) {
    Throw(env, layout.failure());
    return env.Undefined();
  }
  Napi::Array v1 = Napi::Array::New(env, layout.value().v1.size());
  for (uint32_t i = 0; i < layout.value().v1.size(); ++i) {
    v1.Set(i, HierarchyObject(env, layout.value().v1[i]));
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("v1", v1);
  if (layout.value().v2) {
    result.Set("v2", HierarchyObject(env, *layout.value().v2));
  } else {
    result.Set("v2", env.Null());
  }
  return result;
}

Napi::Value CreateCgroup(const Napi::CallbackInfo& info) {
  Args args(info);
  const std::string path = args.At(0, "path").Text();
  CgroupLimits limits = ReadLimits(args.At(1, "resources"), &args);
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync<std::vector<std::string>>(
      info.Env(), [path, limits = std::move(limits)] { return CreateCgroup(path, limits); },
      [](Napi::Env env, std::vector<std::string>& directories) -> Napi::Value {
        return Strings(env, directories);
      });
}

Napi::Value UpdateCgroup(const Napi::CallbackInfo& info) {
  Args args(info);
  const std::string path = args.At(0, "path").Text();
  CgroupLimits limits = ReadLimits(args.At(1, "resources"), &args);
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync(info.Env(),
                  [path, limits = std::move(limits)] { return UpdateCgroup(path, limits); });
}

Napi::Value KillCgroup(const Napi::CallbackInfo& info) {
  Args args(info);
  const std::string path = args.At(0, "path").Text();
  const int64_t timeout_ms = args.At(1, "timeoutMs").Integer(0, INT_MAX);
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync(info.Env(), [path, timeout_ms, abandoned = Abandoned(info.Env())] {
    return KillCgroup(path, timeout_ms, abandoned);
  });
}

Napi::Value RemoveCgroup(const Napi::CallbackInfo& info) {
  Args args(info);
  const std::string path = args.At(0, "path").Text();
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync(info.Env(), [path, abandoned = Abandoned(info.Env())] {
    return RemoveCgroup(path, abandoned);
  });
}

}  // namespace cais
