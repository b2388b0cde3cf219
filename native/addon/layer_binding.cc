#include "addon/layer_binding.h"

#include <fcntl.h>

#include <memory>
#include <string>
#include <utility>

#include "addon/async_task.h"
#include "addon/layer_job.h"
#include "addon/napi_args.h"
#include "kernel/unique_fd.h"
#include "layer/decompress.h"
#include "layer/disk_reserve.h"
#include "layer/image_head.h"
#include "layer/mend.h"

namespace cais {
namespace {

Result<std::string> DigestImageAt(const std::string& path, AsyncPool& pool) {
  const UniqueFd fd(
      ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK));
  if (!fd) return Errno("open", path);
  Result<std::string> digest = DigestImage(fd.get(), [&pool] { return pool.stopping(); });
  if (digest.ok()) return digest;
  Failure& failure = digest.failure();
  // The layer knows nothing of names.
  if (failure.error != 0) {
    failure.path = path;
  } else {
    failure.path += ": \"" + path + "\"";
  }
  return digest;
}

}  // namespace

Napi::Function DefineLayerJob(Napi::Env env) { return LayerJob::Define(env); }

Napi::Value DigestLayerImage(const Napi::CallbackInfo& info) {
  Args args(info);
  std::string path = args.At(0, "path").Text();
  if (!args.ok()) return info.Env().Undefined();
  AsyncPool& pool = Data(info.Env()).pool;
  return RunAsync<std::string>(
      info.Env(), [path = std::move(path), &pool] { return DigestImageAt(path, pool); },
      [](Napi::Env env, std::string& digest) -> Napi::Value {
        return Napi::String::New(env, digest);
      });
}

Napi::Value BuildMendLayer(const Napi::CallbackInfo& info) {
  Args args(info);
  const Arg options = args.At(0, "options");
  const std::string form = options.Field("form").Text();
  std::string directory = options.Field("directory").Text();
  const auto max_steps = static_cast<uint64_t>(options.Field("maxSteps").Integer(0));
  auto chain = std::make_shared<LayerChain>();
  for (const Arg& layer : options.Field("layers").List()) {
    ChainLayer& added = chain->emplace_back();
    added.fd = layer.Field("fd").Descriptor();
    for (const Arg& path : layer.Field("impliedDirectories").List()) {
      added.implied.insert(path.Bytes());
    }
  }
  if (!args.ok()) return info.Env().Undefined();
  const auto open_end = form == "image" ? &OpenErofsImage : +[](int fd, const EndLimits& limits) {
    return OpenDirectoryTree(fd, limits, nullptr);
  };
  return RunAsync<MendOutcome>(
      info.Env(),
      [directory = std::move(directory), chain, open_end, max_steps]() -> Result<MendOutcome> {
        const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!fd) return Errno("open", directory);
        Result<MendOutcome> built = BuildMend(*chain, {fd.get(), open_end, max_steps});
        if (!built.ok()) return NameFullDisk(std::move(built.failure()), directory);
        return built;
      },
      [](Napi::Env env, MendOutcome& outcome) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("written", outcome.written);
        result.Set("layerBytes", static_cast<double>(outcome.layer_bytes));
        result.Set("firstVisible", static_cast<double>(outcome.first_visible));
        return result;
      });
}

}  // namespace cais
