#include "addon/mount_binding.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <memory>

#include "addon/async_task.h"
#include "addon/lock_wait.h"
#include "addon/napi_args.h"
#include "kernel/durable.h"
#include "kernel/lock.h"
#include "kernel/overlay.h"
#include "kernel/root_file.h"
#include "kernel/tree.h"
#include "layer/layer_mount.h"

namespace cais {

namespace {

Napi::Value GiveDescriptor(Napi::Env env, UniqueFd& fd) {
  return Napi::Number::New(env, fd.Release());
}

OverlayMount ReadOverlay(const Arg& options) {
  OverlayMount overlay;
  for (const Arg& layer : options.Field("lower").List()) {
    overlay.lower.push_back(
        {layer.Field("fd").Descriptor(), layer.Field("link").OptionalText().value_or("")});
  }
  const Arg upper = options.Field("upper");
  if (!upper.absent()) {
    overlay.upper =
        OverlayUpper{upper.Field("upperDirectory").Text(), upper.Field("workDirectory").Text()};
  }
  overlay.volatile_upper = options.Field("volatile").Boolean();
  const Arg user_namespace = options.Field("userNamespaceFd");
  if (!user_namespace.absent()) overlay.user_namespace_fd = user_namespace.Descriptor();
  overlay.link_directory = options.Field("linkDirectory").Text();
  overlay.supervisor_path = options.Field("supervisorPath").Text();
  return overlay;
}

// For exports with one argument, a path.
Napi::Value RunOnPath(const Napi::CallbackInfo& info, const char* name,
                      Status (*work)(const std::string&)) {
  Args args(info);
  const std::string path = args.At(0, name).Text();
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync(info.Env(), [path, work] { return work(path); });
}

}  // namespace

Napi::Value ProbeLayerImage(const Napi::CallbackInfo& info) {
  Args args(info);
  const std::string directory = args.At(0, "directory").Text();
  if (!args.ok()) return info.Env().Undefined();
  // A kernel that refuses is an answer, not a failure.
  return RunAsync<std::string>(
      info.Env(), [directory] { return ProbeLayerMount(directory); },
      [](Napi::Env env, std::string& reason) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("supported", reason.empty());
        result.Set("reason", reason);
        return result;
      });
}

Napi::Value MountLayerImage(const Napi::CallbackInfo& info) {
  Args args(info);
  const std::string path = args.At(0, "path").Text();
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync<UniqueFd>(
      info.Env(), [path] { return MountLayer(path); }, GiveDescriptor);
}

Napi::Value MountOverlay(const Napi::CallbackInfo& info) {
  Args args(info);
  OverlayMount overlay = ReadOverlay(args.At(0, "options"));
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync<UniqueFd>(
      info.Env(), [overlay = std::move(overlay)] { return MountOverlay(overlay); }, GiveDescriptor);
}

Napi::Value ReadFileInRoot(const Napi::CallbackInfo& info) {
  Args args(info);
  const int root_fd = args.At(0, "rootFd").Descriptor();
  const std::string path = args.At(1, "path").Text();
  const auto max_bytes = static_cast<uint64_t>(args.At(2, "maxBytes").Integer(0));
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync<std::optional<std::string>>(
      info.Env(), [=] { return ReadFileInRoot(root_fd, path, max_bytes); },
      [](Napi::Env env, std::optional<std::string>& content) -> Napi::Value {
        if (!content) return env.Null();
        return Napi::Buffer<char>::Copy(env, content->data(), content->size());
      });
}

Napi::Value KindInRoot(const Napi::CallbackInfo& info) {
  Args args(info);
  const int root_fd = args.At(0, "rootFd").Descriptor();
  const std::string path = args.At(1, "path").Text();
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync<std::optional<mode_t>>(
      info.Env(), [=] { return FileTypeInRoot(root_fd, path); },
      [](Napi::Env env, std::optional<mode_t>& type) -> Napi::Value {
        if (!type) return env.Null();
        const char* kind = S_ISDIR(*type) ? "directory" : S_ISREG(*type) ? "file" : "other";
        return Napi::String::New(env, kind);
      });
}

Napi::Value RemoveTree(const Napi::CallbackInfo& info) {
  return RunOnPath(info, "path", &cais::RemoveTree);
}

Napi::Value TreeUsage(const Napi::CallbackInfo& info) {
  Args args(info);
  const std::string path = args.At(0, "path").Text();
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync<TreeSize>(
      info.Env(), [path] { return MeasureTree(path); },
      [](Napi::Env env, TreeSize& size) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("bytes", static_cast<double>(size.bytes));
        result.Set("inodes", static_cast<double>(size.inodes));
        return result;
      });
}

Napi::Value SyncFile(const Napi::CallbackInfo& info) {
  return RunOnPath(info, "path", &cais::SyncFile);
}

Napi::Value SyncFilesystem(const Napi::CallbackInfo& info) {
  return RunOnPath(info, "path", &cais::SyncFilesystem);
}

Napi::Value LockFile(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Args args(info);
  const std::string path = args.At(0, "path").Text();
  const Arg options = args.At(1, "options");
  const LockMode mode =
      options.Field("exclusive").Boolean() ? LockMode::kExclusive : LockMode::kShared;
  const bool wait = options.Field("wait").Boolean();
  if (!args.ok()) return env.Undefined();

  // Neither step blocks for long, so they need no thread; a promise tells either outcome.
  Napi::Promise::Deferred deferred = Napi::Promise::Deferred::New(env);
  Result<UniqueFd> file = OpenLockFile(path);
  Result<bool> taken = file.ok() ? TryLock(file.value().get(), mode) : Result<bool>(file.failure());
  if (!taken.ok()) {
    taken.failure().path = path;
    deferred.Reject(ToError(env, taken.failure()).Value());
  } else if (taken.value()) {
    deferred.Resolve(GiveDescriptor(env, file.value()));
  } else if (wait) {
    return WaitForLock(env, std::move(file.value()), mode, path);
  } else {
    deferred.Resolve(env.Null());
  }
  return deferred.Promise();
}

}  // namespace cais
