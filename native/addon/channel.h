#pragma once

#include <napi.h>
#include <uv.h>

#include "kernel/frame_socket.h"

namespace cais {

class ChannelPoll;

// The Channel of src/native.ts: frames over a unix socket on Node's own loop. Everything happens on
// the main thread of its environment.
//
//   open ──peer gone / bad frame──▶ closed (onClose called once)
//     └────────────close()────────▶ closed (onClose never called; what is not yet sent is dropped)
//
// While open, the object keeps itself alive. The poll handle outlives the object by the turn of the
// loop that uv_close takes, and is closed by an asynchronous cleanup hook when the environment
// ends first.
class Channel : public Napi::ObjectWrap<Channel> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit Channel(const Napi::CallbackInfo& info);
  ~Channel();

 private:
  friend class ChannelPoll;

  Napi::Value Send(const Napi::CallbackInfo& info);
  Napi::Value PeerPid(const Napi::CallbackInfo& info);
  void RefLoop(const Napi::CallbackInfo& info);
  void UnrefLoop(const Napi::CallbackInfo& info);
  void CloseFromScript(const Napi::CallbackInfo& info);

  Status Connect();
  void OnReady(int status, int events);
  void ReadFrames();
  // Flushes and watches for room as long as something is left.
  void WriteFrames();
  void Deliver(Frame frame);
  // Ends the connection and tells the script, with `failure` or null.
  void End(const Failure* failure);
  // Ends the connection silently; safe to call twice.
  void Shut();
  void CallScript(const Napi::FunctionReference& function,
                  const std::vector<napi_value>& arguments);

  std::string path_;
  UniqueFd socket_;
  ChannelPoll* poll_ = nullptr;  // owned by the loop until its close callback
  FrameReader reader_;
  FrameWriter writer_;
  bool write_failed_ = false;
  pid_t peer_pid_ = 0;
  Napi::FunctionReference on_frame_;
  Napi::FunctionReference on_close_;
  Napi::AsyncContext context_;
};

}  // namespace cais
