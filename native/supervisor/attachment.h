#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "kernel/unique_fd.h"
#include "supervisor/event_loop.h"

namespace cais {

// One attached client: output to it as `u8 stream | u8×3 zero | u32 length | bytes`, raw stdin from
// it. A client that does not read is cut off by an `end` chunk past 1 MiB; the container never
// waits.
class Attachment {
 public:
  static constexpr size_t kMaxQueuedBytes = 1 << 20;
  static constexpr uint8_t kStdoutChunk = 1;
  static constexpr uint8_t kStderrChunk = 2;
  static constexpr uint8_t kEndChunk = 3;
  // Content of the `end` chunk of a client that was too slow; nothing is in that of an ended
  // container.
  static constexpr std::string_view kCutOff = "slow";

  struct Options {
    bool wants_stdin = false;
    bool wants_stdout = false;
    bool wants_stderr = false;
    // The client's input; the length 0 is its end. False: no more until ResumeInput.
    std::function<bool(std::string_view)> on_input;
    // Nothing more comes from or goes to the client. May destroy the attachment.
    std::function<void()> on_closed;
  };

  // The loop must outlive the attachment.
  Attachment(EventLoop& loop, UniqueFd socket, Options options);
  ~Attachment();
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;

  // False when the loop does not take the socket.
  bool Start();
  void Send(uint8_t chunk, std::string_view bytes);
  // Sends the `end` chunk and closes when all is sent.
  void End(std::string_view reason = {});
  void ResumeInput();
  bool wants_stdin() const { return options_.wants_stdin; }

 private:
  void OnReady(uint32_t events);
  void ReadInput();
  void Flush();
  void CloseOutput();
  void UpdateEvents();
  void Append(uint8_t chunk, std::string_view bytes);
  void Close();

  EventLoop& loop_;
  UniqueFd socket_;
  Options options_;
  std::string queue_;
  bool input_open_ = true;
  bool output_open_ = true;
  bool input_paused_ = false;
  bool ending_ = false;
  bool closed_ = false;
};

}  // namespace cais
