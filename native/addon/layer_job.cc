#include "addon/layer_job.h"

#include <fcntl.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "addon/async_task.h"
#include "addon/napi_args.h"
#include "addon/napi_errors.h"
#include "layer/pipeline.h"

namespace cais {
namespace {

// What a thread of the pipeline tells the main thread.
enum class Event : uintptr_t { kRoom = 1, kReceived = 2, kEnd = 3 };

GzipLibrary GzipLibraryOf(const Arg& library, Args& args) {
  const std::string text = library.OptionalText().value_or("own");
  if (args.ok() && text != "own" && text != "zlib") {
    args.Fail(library.name() + ": expected \"own\" or \"zlib\"");
  }
  return text == "zlib" ? GzipLibrary::kZlib : GzipLibrary::kOwn;
}

PipelineOptions ReadOptions(const Arg& options, Args& args) {
  PipelineOptions read;
  const bool is_image = IsImageForm(options.Field("form"), args);
  read.open_end = [is_image](int fd, const EndLimits& limits, Workers& workers) {
    return is_image ? OpenErofsImage(fd, limits) : OpenDirectoryTree(fd, limits, &workers);
  };
  read.directory = options.Field("directory").Text();
  read.save_blob = options.Field("saveBlob").Boolean();
  read.expected_digest = options.Field("expectedDigest").OptionalText();
  read.expected_bytes = options.Field("expectedSizeBytes").OptionalInteger(0);
  read.expected_diff_id = options.Field("expectedDiffId").OptionalText();
  const Arg follows = options.Field("diffIdFollows");
  read.diff_id_follows = !follows.absent() && follows.Boolean();
  read.gzip_library = GzipLibraryOf(options.Field("gzipLibrary"), args);
  const Arg limits = options.Field("limits");
  read.max_tar_bytes = static_cast<uint64_t>(limits.Field("maxTarBytes").Integer(0));
  read.end_limits.max_entries = static_cast<uint64_t>(limits.Field("maxEntries").Integer(0));
  read.end_limits.max_metadata_bytes =
      static_cast<uint64_t>(limits.Field("maxMetadataBytes").Integer(0));
  read.end_limits.reserve_bytes = static_cast<uint64_t>(limits.Field("reserveBytes").Integer(0));
  return read;
}

Napi::Value ToResult(Napi::Env env, const LayerOutcome& outcome) {
  const auto number = [env](uint64_t value) {
    return Napi::Number::New(env, static_cast<double>(value));
  };
  Napi::Object result = Napi::Object::New(env);
  result.Set("digest", outcome.digest);
  result.Set("sizeBytes", number(outcome.blob_bytes));
  result.Set("diffId", outcome.diff_id);
  result.Set("tarBytes", number(outcome.tar_bytes));
  result.Set("compression", CompressionName(outcome.compression));
  result.Set("entries", number(outcome.layer.entries));
  result.Set("layerBytes", number(outcome.layer.layer_bytes));
  const std::vector<std::string>& implied = outcome.layer.implied_directories;
  Napi::Array directories = Napi::Array::New(env, implied.size());
  for (size_t i = 0; i < implied.size(); ++i) {
    directories.Set(static_cast<uint32_t>(i),
                    Napi::Buffer<char>::Copy(env, implied[i].data(), implied[i].size()));
  }
  result.Set("impliedDirectories", directories);
  return result;
}

const char* EndName(SocketSource::End end) {
  switch (end) {
    case SocketSource::End::kNone:
      return "complete";
    case SocketSource::End::kClosed:
      return "closed";
    case SocketSource::End::kIdle:
      return "idle";
    case SocketSource::End::kStopped:
      return "stopped";
    case SocketSource::End::kFailed:
      return "failed";
  }
  return "";
}

Napi::Value ToReceived(Napi::Env env, const Reception& reception) {
  Napi::Object received = Napi::Object::New(env);
  received.Set("bytes", Napi::Number::New(env, static_cast<double>(reception.bytes)));
  received.Set("end", EndName(reception.end));
  received.Set("errno", Napi::Number::New(env, reception.error));
  return received;
}

// A job that fails before anybody asks for `failed` is no unhandled rejection: finish() tells it,
// too.
void MarkHandled(Napi::Promise promise) {
  Napi::Value method = promise.Get("catch");
  Napi::Function ignore = Napi::Function::New(promise.Env(), [](const Napi::CallbackInfo&) {});
  (void)method.As<Napi::Function>().Call(promise, {ignore});
}

}  // namespace

bool IsImageForm(const Arg& form, Args& args) {
  const std::string text = form.Text();
  if (args.ok() && text != "image" && text != "directory") {
    args.Fail(form.name() + ": expected \"image\" or \"directory\"");
  }
  return text == "image";
}

// Everything but `pipeline`, which locks by itself, belongs to the main thread. Lives until the
// ThreadSafeFunction is finalized.
struct LayerJob::State {
  explicit State(Napi::Env env) : failed(Napi::Promise::Deferred::New(env)) {}

  static void OnEvent(napi_env env, napi_value on_drain, void* context, void* data);
  static void OnEnvironmentEnd(void* context) { static_cast<State*>(context)->pipeline.reset(); }
  void Post(Event event) const {
    // Fails only when the environment is ending.
    (void)napi_call_threadsafe_function(events, reinterpret_cast<void*>(event),
                                        napi_tsfn_nonblocking);
  }
  void End(Napi::Env env);
  void SettleReceive(Napi::Env env, const Reception& reception);
  void SettleFinish(Napi::Env env);

  napi_threadsafe_function events = nullptr;
  std::unique_ptr<LayerPipeline> pipeline;  // null once it has ended
  bool has_file = false;
  std::optional<std::string> diff_id;  // given to finish()
  std::optional<Result<LayerOutcome>> outcome;
  Napi::Promise::Deferred failed;
  std::optional<Napi::Promise::Deferred> receive;  // while it goes on
  std::optional<Napi::Promise::Deferred> finish;
};

void LayerJob::State::OnEvent(napi_env raw_env, napi_value on_drain, void* context, void* data) {
  Napi::Env env(raw_env);
  // The environment is ending: its cleanup hook stops the pipeline, and nobody waits any more.
  if (raw_env == nullptr || !CanRunScript(env)) return;
  Napi::HandleScope scope(env);
  auto* state = static_cast<State*>(context);
  switch (static_cast<Event>(reinterpret_cast<uintptr_t>(data))) {
    case Event::kRoom:
      (void)Napi::Function(env, on_drain).Call({});
      return;
    case Event::kReceived:
      if (state->pipeline == nullptr) return;
      state->SettleReceive(env, state->pipeline->TakeReception());
      // finish() was called meanwhile.
      if (state->finish) state->pipeline->CloseInput(state->diff_id);
      return;
    case Event::kEnd:
      return state->End(env);
  }
}

void LayerJob::State::End(Napi::Env env) {
  // The environment's end has taken the pipeline away.
  if (pipeline == nullptr) return;
  outcome = pipeline->TakeOutcome();
  pipeline.reset();
  (void)napi_remove_env_cleanup_hook(env, OnEnvironmentEnd, this);
  if (outcome->ok()) {
    failed.Resolve(env.Undefined());
  } else {
    failed.Reject(ToError(env, outcome->failure()).Value());
  }
  if (finish) SettleFinish(env);
  // Last: this may be the end of the state.
  (void)napi_release_threadsafe_function(events, napi_tsfn_release);
}

void LayerJob::State::SettleReceive(Napi::Env env, const Reception& reception) {
  receive->Resolve(ToReceived(env, reception));
  receive.reset();
}

void LayerJob::State::SettleFinish(Napi::Env env) {
  if (outcome->ok()) {
    finish->Resolve(ToResult(env, outcome->value()));
  } else {
    finish->Reject(ToError(env, outcome->failure()).Value());
  }
}

Napi::Function LayerJob::Define(Napi::Env env) {
  return DefineClass(
      env, "LayerJob",
      {InstanceMethod<&LayerJob::Write>("write"), InstanceMethod<&LayerJob::Receive>("receive"),
       InstanceMethod<&LayerJob::ReceivedBytes>("receivedBytes"),
       InstanceMethod<&LayerJob::ReadFrom>("readFrom"), InstanceMethod<&LayerJob::Finish>("finish"),
       InstanceMethod<&LayerJob::Abort>("abort")});
}

LayerJob::LayerJob(const Napi::CallbackInfo& info) : Napi::ObjectWrap<LayerJob>(info) {
  Napi::Env env = info.Env();
  Args args(info);
  const Arg options_arg = args.At(0, "options");
  PipelineOptions options = ReadOptions(options_arg, args);
  const Napi::Function on_drain = options_arg.Field("onDrain").Function();
  if (!args.ok()) return;

  auto state = std::make_shared<State>(env);
  auto* held = new std::shared_ptr<State>(state);
  const napi_status created = napi_create_threadsafe_function(
      env, on_drain, nullptr, Napi::String::New(env, "LayerJob"), 0, 1, held,
      [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<State>*>(data); },
      state.get(), &State::OnEvent, &state->events);
  if (created != napi_ok) {
    delete held;
    Napi::Error::New(env, "Cannot make a thread-safe function").ThrowAsJavaScriptException();
    return;
  }
  options.on_room = [raw = state.get()] { raw->Post(Event::kRoom); };
  options.on_received = [raw = state.get()] { raw->Post(Event::kReceived); };
  options.on_end = [raw = state.get()] { raw->Post(Event::kEnd); };
  Result<std::unique_ptr<LayerPipeline>> pipeline =
      LayerPipeline::Start(Data(env).workers, std::move(options));
  if (!pipeline.ok()) {
    (void)napi_release_threadsafe_function(state->events, napi_tsfn_abort);
    Throw(env, pipeline.failure());
    return;
  }
  state->pipeline = std::move(pipeline.value());
  // Added after the ThreadSafeFunction was made, so run before that is closed: the threads are gone
  // by then.
  (void)napi_add_env_cleanup_hook(env, State::OnEnvironmentEnd, state.get());
  MarkHandled(state->failed.Promise());
  info.This().As<Napi::Object>().DefineProperty(
      Napi::PropertyDescriptor::Value("failed", state->failed.Promise(), napi_enumerable));
  state_ = std::move(state);
}

LayerJob::~LayerJob() {
  if (state_ != nullptr && state_->pipeline != nullptr && !state_->finish) {
    state_->pipeline->Abort();
  }
}

bool LayerJob::TakesInput(Napi::Env env, const char* method) const {
  const char* before = nullptr;
  if (state_->finish) before = "finish";
  if (state_->has_file) before = "readFrom";
  if (state_->receive) before = "receive";
  if (before == nullptr) return true;
  Napi::Error::New(env, std::string("LayerJob.") + method + " during or after " + before)
      .ThrowAsJavaScriptException();
  return false;
}

Napi::Value LayerJob::Write(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsTypedArray() ||
      info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    Napi::TypeError::New(env, "chunk: expected a Uint8Array").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  if (!TakesInput(env, "write")) return env.Undefined();
  if (state_->pipeline == nullptr) return Napi::Boolean::New(env, true);
  const auto chunk = info[0].As<Napi::Uint8Array>();
  const bool room =
      state_->pipeline->Write({reinterpret_cast<const char*>(chunk.Data()), chunk.ByteLength()});
  return Napi::Boolean::New(env, room);
}

Napi::Value LayerJob::Receive(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Args args(info);
  const int fd = args.At(0, "fd").Descriptor();
  const auto bytes = static_cast<uint64_t>(args.At(1, "bytes").Integer(1));
  const std::chrono::milliseconds idle_timeout(args.At(2, "idleTimeoutMs").Integer(1));
  if (!args.ok() || !TakesInput(env, "receive")) return env.Undefined();
  state_->receive = Napi::Promise::Deferred::New(env);
  const Napi::Promise promise = state_->receive->Promise();
  const Reception over{0, SocketSource::End::kStopped};
  if (state_->pipeline == nullptr) {
    state_->SettleReceive(env, over);
    return promise;
  }
  // Of our own, since the caller may close the other one at any time.
  UniqueFd socket(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  Result<bool> started = socket ? state_->pipeline->Receive(std::move(socket), bytes, idle_timeout)
                                : Result<bool>(Errno("dup", "the connection of the layer"));
  if (!started.ok()) {
    state_->receive.reset();
    Throw(env, started.failure());
    return env.Undefined();
  }
  if (!started.value()) state_->SettleReceive(env, over);
  return promise;
}

Napi::Value LayerJob::ReceivedBytes(const Napi::CallbackInfo& info) {
  const uint64_t bytes = state_->pipeline == nullptr ? 0 : state_->pipeline->received_bytes();
  return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

Napi::Value LayerJob::ReadFrom(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Args args(info);
  const int fd = args.At(0, "fd").Descriptor();
  if (!args.ok()) return env.Undefined();
  if (!TakesInput(env, "readFrom")) return env.Undefined();
  state_->has_file = true;
  if (state_->pipeline == nullptr) return env.Undefined();
  if (Status started = state_->pipeline->ReadFrom(fd); !started.ok()) {
    Throw(env, started.failure());
  }
  return env.Undefined();
}

Napi::Value LayerJob::Finish(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (state_->finish) {
    Napi::Error::New(env, "LayerJob.finish was called before").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  Args args(info);
  state_->diff_id = args.At(0, "diffId").OptionalText();
  if (!args.ok()) return env.Undefined();
  state_->finish = Napi::Promise::Deferred::New(env);
  Napi::Promise promise = state_->finish->Promise();
  if (state_->outcome) {
    state_->SettleFinish(env);
  } else if (state_->pipeline != nullptr && !state_->has_file && !state_->receive) {
    state_->pipeline->CloseInput(state_->diff_id);
  }
  return promise;
}

Napi::Value LayerJob::Abort(const Napi::CallbackInfo& info) {
  if (state_->pipeline != nullptr) state_->pipeline->Abort();
  return info.Env().Undefined();
}

}  // namespace cais
