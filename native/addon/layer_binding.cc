#include "addon/layer_binding.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "addon/async_task.h"
#include "addon/layer_job.h"
#include "addon/napi_args.h"
#include "kernel/unique_fd.h"
#include "layer/image_head.h"
#include "layer/mend.h"
#include "layer/sha256.h"

namespace cais {
namespace {

constexpr size_t kReadBytes = 1 << 20;

Result<std::string> DigestImage(const std::string& path, AsyncPool& pool) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) return Errno("open", path);
  Result<ImageHead> head = ReadImageHead(fd.get());
  if (!head.ok()) return std::move(head.failure());
  Sha256 sha256;
  const auto buffer = std::make_unique_for_overwrite<char[]>(kReadBytes);
  uint64_t done = 0;
  while (done < head.value().tar_bytes) {
    if (pool.stopping()) return Refuse("ABORTED", "Node is ending");
    const size_t want =
        static_cast<size_t>(std::min<uint64_t>(kReadBytes, head.value().tar_bytes - done));
    const ssize_t got =
        ::pread(fd.get(), buffer.get(), want, static_cast<off_t>(kImageTarOffset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Errno("read", path);
    if (got == 0)
      return Refuse("BAD_LAYER", "The layer image \"" + path + "\" ends inside its tar");
    sha256.Update({buffer.get(), static_cast<size_t>(got)});
    done += static_cast<uint64_t>(got);
  }
  return sha256.Finish();
}

}  // namespace

Napi::Function DefineLayerJob(Napi::Env env) { return LayerJob::Define(env); }

Napi::Value DigestLayerImage(const Napi::CallbackInfo& info) {
  Args args(info);
  std::string path = args.At(0, "path").Text();
  if (!args.ok()) return info.Env().Undefined();
  AsyncPool& pool = Data(info.Env()).pool;
  return RunAsync<std::string>(
      info.Env(), [path = std::move(path), &pool] { return DigestImage(path, pool); },
      [](Napi::Env env, std::string& digest) -> Napi::Value {
        return Napi::String::New(env, digest);
      });
}

Napi::Value BuildMendLayer(const Napi::CallbackInfo& info) {
  Args args(info);
  const Arg options = args.At(0, "options");
  MendRequest request;
  request.image_form = IsImageForm(options.Field("form"), args);
  request.directory = options.Field("directory").Text();
  for (const Arg& layer : options.Field("layers").List()) {
    MendSource source;
    source.root_fd = layer.Field("fd").Descriptor();
    for (const Arg& name : layer.Field("impliedDirectories").List()) {
      source.implied_directories.push_back(name.Bytes());
    }
    request.layers.push_back(std::move(source));
  }
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync<MendOutcome>(
      info.Env(), [request = std::move(request)] { return BuildMendLayer(request); },
      [](Napi::Env env, MendOutcome& outcome) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("written", outcome.written);
        result.Set("layerBytes", static_cast<double>(outcome.layer_bytes));
        return result;
      });
}

}  // namespace cais
