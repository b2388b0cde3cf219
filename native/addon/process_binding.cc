#include "addon/process_binding.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <climits>

#include "addon/async_task.h"
#include "addon/channel.h"
#include "addon/napi_args.h"
#include "kernel/datagram.h"
#include "kernel/seccomp_profile.h"
#include "kernel/spawn.h"

namespace cais {

namespace {

// Not in the kernel headers of glibc 2.36's unistd.h.
constexpr int kCloseRangeCloexec = 1 << 2;

std::vector<std::string> ReadNames(const Arg& list) {
  std::vector<std::string> names;
  if (list.absent()) return names;
  for (const Arg& name : list.List()) names.push_back(name.Text());
  return names;
}

SeccompRule ReadRule(const Arg& object) {
  SeccompRule rule;
  rule.names = ReadNames(object.Field("names"));
  rule.action = object.Field("action").Text();
  rule.errno_ret = object.Field("errnoRet").OptionalInteger(0, UINT_MAX).value_or(-1);
  const Arg arguments = object.Field("args");
  if (arguments.absent()) return rule;
  for (const Arg& argument : arguments.List()) {
    rule.arguments.push_back({
        static_cast<uint32_t>(argument.Field("index").Integer(0, UINT_MAX)),
        static_cast<uint64_t>(argument.Field("value").Integer(0)),
        static_cast<uint64_t>(argument.Field("valueTwo").OptionalInteger(0).value_or(0)),
        argument.Field("op").Text(),
    });
  }
  return rule;
}

SeccompProfile ReadProfile(const Arg& object) {
  SeccompProfile profile;
  profile.default_action = object.Field("defaultAction").Text();
  profile.default_errno_ret =
      object.Field("defaultErrnoRet").OptionalInteger(0, UINT_MAX).value_or(-1);
  profile.architectures = ReadNames(object.Field("architectures"));
  const Arg rules = object.Field("syscalls");
  if (rules.absent()) return profile;
  for (const Arg& rule : rules.List()) profile.rules.push_back(ReadRule(rule));
  return profile;
}

}  // namespace

Napi::Value CompileSeccomp(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Args args(info);
  const std::string text = args.At(0, "profileJson").Text();
  if (!args.ok()) return env.Undefined();
  Napi::Object json = env.Global().Get("JSON").As<Napi::Object>();
  Napi::Value parsed =
      json.Get("parse").As<Napi::Function>().Call(json, {Napi::String::New(env, text)});
  if (env.IsExceptionPending()) return env.Undefined();
  auto profile = std::make_shared<SeccompProfile>(ReadProfile(Arg(&args, parsed, "profileJson")));
  if (!args.ok()) return env.Undefined();
  return RunAsync<std::string>(
      env, [profile] { return CompileSeccompProfile(*profile); },
      [](Napi::Env done_env, std::string& program) -> Napi::Value {
        return Napi::Buffer<char>::Copy(done_env, program.data(), program.size());
      });
}

Napi::Value SpawnSupervisor(const Napi::CallbackInfo& info) {
  Args args(info);
  const Arg given = args.At(0, "options");
  ProgramStart options;
  options.executable = given.Field("executable").Text();
  options.spec = given.Field("spec").Bytes();
  options.timeout_ms = given.Field("timeoutMs").Integer(1, INT_MAX);
  if (!args.ok()) return info.Env().Undefined();
  AsyncPool* pool = &Data(info.Env()).pool;
  options.abandoned = [pool] { return pool->stopping(); };
  return RunAsync<SpawnedProcess>(
      info.Env(), [options = std::move(options)] { return SpawnSupervisorProcess(options); },
      [](Napi::Env env, SpawnedProcess& spawned) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("pid", spawned.pid);
        result.Set("startTicks", static_cast<double>(spawned.start_ticks));
        return result;
      });
}

Napi::Function DefineChannel(Napi::Env env) { return Channel::Define(env); }

Napi::Value CloseOnExecAll(const Napi::CallbackInfo& info) {
  if (close_range(3, UINT_MAX, kCloseRangeCloexec) != 0) {
    Throw(info.Env(), Errno("close_range"));
  }
  return info.Env().Undefined();
}

Napi::Value OpenFilesLimit(const Napi::CallbackInfo& info) {
  Args args(info);
  const auto pid = static_cast<pid_t>(args.At(0, "pid").Integer(0, INT_MAX));
  if (!args.ok()) return info.Env().Undefined();
  rlimit limit = {};
  if (prlimit(pid, RLIMIT_NOFILE, nullptr, &limit) != 0) {
    Throw(info.Env(), Errno("prlimit RLIMIT_NOFILE of process", std::to_string(pid)));
    return info.Env().Undefined();
  }
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("soft", static_cast<double>(limit.rlim_cur));
  result.Set("hard", static_cast<double>(limit.rlim_max));
  return result;
}

Napi::Value CreatePipe(const Napi::CallbackInfo& info) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    Throw(info.Env(), Errno("pipe2"));
    return info.Env().Undefined();
  }
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("readFd", ends[0]);
  result.Set("writeFd", ends[1]);
  return result;
}

Napi::Value CreateSocketPair(const Napi::CallbackInfo& info) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    Throw(info.Env(), Errno("socketpair"));
    return info.Env().Undefined();
  }
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("fd", ends[0]);
  result.Set("peerFd", ends[1]);
  return result;
}

Napi::Value SendDatagram(const Napi::CallbackInfo& info) {
  Args args(info);
  const std::string path = args.At(0, "path").Text();
  const std::string message = args.At(1, "message").Text();
  if (!args.ok()) return info.Env().Undefined();
  Status sent = cais::SendDatagram(path, message);
  if (!sent.ok()) Throw(info.Env(), sent.failure());
  return info.Env().Undefined();
}

}  // namespace cais
