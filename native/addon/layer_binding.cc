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
  const std::string form = options.Field("form").Text();
  std::string directory = options.Field("directory").Text();
  auto chain = std::make_shared<LayerChain>();
  for (const Arg& layer : options.Field("layers").List()) {
    ChainLayer& added = chain->emplace_back();
    added.fd = layer.Field("fd").Descriptor();
    for (const Arg& path : layer.Field("impliedDirectories").List()) {
      added.implied.insert(path.Bytes());
    }
  }
  if (!args.ok()) return info.Env().Undefined();
  const auto open_end = form == "image" ? &OpenErofsImage : &OpenDirectoryTree;
  return RunAsync<MendOutcome>(
      info.Env(),
      [directory = std::move(directory), chain, open_end]() -> Result<MendOutcome> {
        const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!fd) return Errno("open", directory);
        return BuildMend(*chain, fd.get(), open_end);
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
