#include "addon/channel.h"

#include <sys/socket.h>

#include "addon/napi_args.h"
#include "addon/napi_errors.h"

namespace cais {

namespace {

// Frames handed to the script in one turn of the loop, so that one busy peer does not starve the
// others: the poll is level-triggered and comes back.
constexpr int kMaxFramesPerTurn = 64;

}  // namespace

// The uv_poll handle of a channel. Deletes itself when libuv has let go of it.
class ChannelPoll {
 public:
  // Null when libuv or Node refuses; `socket_fd` is borrowed until Close.
  static ChannelPoll* Open(napi_env env, int socket_fd, Channel* channel) {
    uv_loop_t* loop = nullptr;
    if (napi_get_uv_event_loop(env, &loop) != napi_ok) return nullptr;
    auto* poll = new ChannelPoll(channel);
    if (uv_poll_init(loop, &poll->handle_, socket_fd) != 0) {
      delete poll;
      return nullptr;
    }
    poll->handle_.data = poll;
    poll->Watch(UV_READABLE);
    // On failure (the environment is ending) the handle is closed by whoever destroys the channel.
    (void)napi_add_async_cleanup_hook(env, &ChannelPoll::OnEnvironmentEnd, poll, &poll->hook_);
    return poll;
  }

  void Watch(int events) {
    if (events == events_) return;
    events_ = events;
    (void)uv_poll_start(&handle_, events, [](uv_poll_t* handle, int status, int ready) {
      auto* poll = static_cast<ChannelPoll*>(handle->data);
      if (poll->channel_ != nullptr) poll->channel_->OnReady(status, ready);
    });
  }

  void Ref() { uv_ref(reinterpret_cast<uv_handle_t*>(&handle_)); }
  void Unref() { uv_unref(reinterpret_cast<uv_handle_t*>(&handle_)); }

  void Close() {
    channel_ = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(&handle_), [](uv_handle_t* handle) {
      auto* poll = static_cast<ChannelPoll*>(handle->data);
      if (poll->hook_ != nullptr) (void)napi_remove_async_cleanup_hook(poll->hook_);
      delete poll;
    });
  }

 private:
  explicit ChannelPoll(Channel* channel) : channel_(channel) {}

  static void OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) {
    auto* poll = static_cast<ChannelPoll*>(data);
    // Null: it is closing already, and the close callback removes the hook.
    if (poll->channel_ != nullptr) poll->channel_->Shut();
  }

  uv_poll_t handle_ = {};
  Channel* channel_;
  int events_ = 0;
  napi_async_cleanup_hook_handle hook_ = nullptr;
};

Napi::Function Channel::Define(Napi::Env env) {
  return DefineClass(env, "Channel",
                     {
                         InstanceMethod<&Channel::Send>("send"),
                         InstanceAccessor<&Channel::PeerPid>("peerPid"),
                         InstanceMethod<&Channel::RefLoop>("ref"),
                         InstanceMethod<&Channel::UnrefLoop>("unref"),
                         InstanceMethod<&Channel::CloseFromScript>("close"),
                     });
}

Channel::Channel(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<Channel>(info), context_(info.Env(), "cais.Channel") {
  Args args(info);
  Arg options = args.At(0, "options");
  path_ = options.Field("path").Text();
  Napi::Function on_frame = options.Field("onFrame").Function();
  Napi::Function on_close = options.Field("onClose").Function();
  if (!args.ok()) return;

  Status connected = Connect();
  if (!connected.ok()) {
    Throw(info.Env(), connected.failure());
    return;
  }
  on_frame_ = Napi::Persistent(on_frame);
  on_close_ = Napi::Persistent(on_close);
  Ref();
}

Status Channel::Connect() {
  Result<UniqueFd> connected = ConnectUnix(path_);
  if (!connected.ok()) return connected.failure();
  socket_ = std::move(connected.value());
  ucred peer = {};
  socklen_t length = sizeof peer;
  if (getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return Errno("getsockopt SO_PEERCRED", path_);
  }
  peer_pid_ = peer.pid;
  poll_ = ChannelPoll::Open(Env(), socket_.get(), this);
  if (poll_ == nullptr) return Failure{ENOMEM, "watch the socket", path_, {}};
  return Done{};
}

Channel::~Channel() {
  // An open channel holds a reference to itself, so this runs after Shut or at the very end of the
  // environment, when no reference may be touched any more.
  if (poll_ != nullptr) poll_->Close();
}

Napi::Value Channel::Send(const Napi::CallbackInfo& info) {
  Args args(info);
  const auto type = static_cast<uint16_t>(args.At(0, "type").Integer(0, UINT16_MAX));
  const auto request_id = static_cast<uint32_t>(args.At(1, "requestId").Integer(0, UINT32_MAX));
  const std::string payload = args.At(2, "payload").Bytes();
  std::vector<int> fds;
  for (const Arg& fd : args.At(3, "fds").List()) fds.push_back(fd.Descriptor());
  if (!args.ok()) return info.Env().Undefined();
  if (poll_ == nullptr) {
    Throw(info.Env(), Failure{EPIPE, "send to", path_, {}});
    return info.Env().Undefined();
  }
  // The peer is gone, and the end of what it sent before is still to be read: onClose follows.
  if (write_failed_) return info.Env().Undefined();
  Status queued = writer_.Queue(type, request_id, payload, fds);
  if (!queued.ok()) {
    Throw(info.Env(), queued.failure());
    return info.Env().Undefined();
  }
  WriteFrames();
  return info.Env().Undefined();
}

Napi::Value Channel::PeerPid(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), peer_pid_);
}

void Channel::RefLoop(const Napi::CallbackInfo&) {
  if (poll_ != nullptr) poll_->Ref();
}

void Channel::UnrefLoop(const Napi::CallbackInfo&) {
  if (poll_ != nullptr) poll_->Unref();
}

void Channel::CloseFromScript(const Napi::CallbackInfo&) { Shut(); }

void Channel::Shut() {
  if (poll_ == nullptr) return;
  poll_->Close();
  poll_ = nullptr;
  socket_.Reset();
  writer_.Clear();
  on_frame_.Reset();
  on_close_.Reset();
  Unref();
}

void Channel::End(const Failure* failure) {
  if (poll_ == nullptr) return;
  Napi::Env env = Env();
  Napi::HandleScope scope(env);
  Napi::FunctionReference on_close = std::move(on_close_);
  // The handle of this object, for as long as the call lasts: Shut lets the collector have it.
  [[maybe_unused]] Napi::Object self = Value();
  Shut();
  const napi_value error = failure == nullptr
                               ? static_cast<napi_value>(env.Null())
                               : static_cast<napi_value>(ToError(env, *failure).Value());
  CallScript(on_close, {error});
}

void Channel::OnReady(int status, int events) {
  if (!CanRunScript(Env())) return Shut();
  if (status < 0) {
    const Failure failure{-status, "poll", path_, {}};
    return End(&failure);
  }
  if ((events & UV_WRITABLE) != 0) WriteFrames();
  if (poll_ != nullptr && (events & UV_READABLE) != 0) ReadFrames();
}

void Channel::WriteFrames() {
  Result<bool> flushed = writer_.Flush(socket_.get());
  if (!flushed.ok()) {
    // What the peer sent before it went (an exit, say) must still be read: the end comes from
    // there.
    write_failed_ = true;
    writer_.Clear();
  }
  poll_->Watch(writer_.empty() ? UV_READABLE : UV_READABLE | UV_WRITABLE);
}

void Channel::ReadFrames() {
  Napi::HandleScope scope(Env());
  [[maybe_unused]] Napi::Object self =
      Value();  // keeps this alive when the script closes the channel in onFrame
  for (int count = 0; poll_ != nullptr && count < kMaxFramesPerTurn; ++count) {
    Frame frame;
    Result<FrameReader::Progress> progress = reader_.Read(socket_.get(), &frame);
    if (!progress.ok()) {
      Failure failure = progress.failure();
      if (failure.error != 0) failure.path = path_;
      return End(&failure);
    }
    if (progress.value() == FrameReader::Progress::kWouldBlock) return;
    if (progress.value() == FrameReader::Progress::kEnd) return End(nullptr);
    Deliver(std::move(frame));
  }
}

void Channel::Deliver(Frame frame) {
  Napi::Env env = Env();
  Napi::HandleScope scope(env);
  Napi::Array fds = Napi::Array::New(env, frame.fds.size());
  for (size_t i = 0; i < frame.fds.size(); ++i) {
    fds.Set(static_cast<uint32_t>(i), Napi::Number::New(env, frame.fds[i].Release()));
  }
  CallScript(on_frame_,
             {Napi::Number::New(env, frame.type), Napi::Number::New(env, frame.request_id),
              Napi::Buffer<char>::Copy(env, frame.payload.data(), frame.payload.size()), fds});
}

void Channel::CallScript(const Napi::FunctionReference& function,
                         const std::vector<napi_value>& arguments) {
  napi_env env = Env();
  napi_value result = nullptr;
  const napi_status status = napi_make_callback(env, context_, Env().Global(), function.Value(),
                                                arguments.size(), arguments.data(), &result);
  if (status != napi_pending_exception) return;
  // What the script's callback throws is its own uncaught exception.
  napi_value exception = nullptr;
  if (napi_get_and_clear_last_exception(env, &exception) == napi_ok) {
    (void)napi_fatal_exception(env, exception);
  }
}

}  // namespace cais
