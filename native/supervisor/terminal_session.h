#pragma once

#include <functional>
#include <string>

#include "kernel/result.h"
#include "kernel/unique_fd.h"
#include "supervisor/event_loop.h"

namespace cais {

// One client at the terminal of an exec: raw bytes both ways between the terminal's master and the
// client's socket. Unlike an attachment nothing is ever dropped: each side waits for the other. The
// end of the socket hangs the terminal up; the end of the terminal ends the socket.
class TerminalSession {
 public:
  struct Options {
    UniqueFd master;  // non-blocking
    UniqueFd socket;
    // The client has gone: whoever holds the master too must close it, which sends SIGHUP.
    std::function<void()> on_hangup;
    // No more output will come.
    std::function<void()> on_output_end;
  };

  // The loop must outlive the session.
  TerminalSession(EventLoop& loop, Options options);
  ~TerminalSession();
  TerminalSession(const TerminalSession&) = delete;
  TerminalSession& operator=(const TerminalSession&) = delete;

  Status Start();
  // False once everything has been handed to the client, or there is no client.
  bool has_output() const { return static_cast<bool>(socket_); }
  // The process is gone: what the terminal still holds goes to the client as far as its socket
  // takes it, without waiting.
  void Finish();

 private:
  void OnMaster(uint32_t events);
  void OnSocket(uint32_t events);
  // True: more may be there.
  bool ReadOutput();
  void SendOutput();
  void ReadInput();
  void WriteInput();
  void CloseMaster();
  void CloseSocket();
  void HangUp();
  void Update();

  EventLoop& loop_;
  UniqueFd master_;
  UniqueFd socket_;
  std::function<void()> on_hangup_;
  std::function<void()> on_output_end_;
  std::string output_;
  std::string input_;
  bool master_watched_ = false;
};

}  // namespace cais
