#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "kernel/unique_fd.h"
#include "supervisor/attachment.h"
#include "supervisor/event_loop.h"
#include "supervisor/log_writer.h"
#include "supervisor/protocol.h"
#include "supervisor/terminal_session.h"

namespace cais {

// Carries a container's output from its pipes, or its terminal, to the log and to attached clients,
// and their input to it. Input waits for the container; output never waits for anybody.
class StdioRelay {
 public:
  struct Options {
    UniqueFd stdin_pipe;  // write ends and read ends, non-blocking; -1 where there is none
    UniqueFd stdout_pipe;
    UniqueFd stderr_pipe;
    // The client of an exec with a terminal, which is served as soon as there is one; -1: none.
    UniqueFd terminal_client;
    StdinMode stdin_mode = StdinMode::kNull;
    std::unique_ptr<LogWriter> log;  // may be null
  };

  // The loop must outlive the relay.
  StdioRelay(EventLoop& loop, Options options);
  ~StdioRelay();
  StdioRelay(const StdioRelay&) = delete;
  StdioRelay& operator=(const StdioRelay&) = delete;

  Status Start();
  // Before Start: what has been written so far, some KiB of it, taken out of the pipes.
  std::string TakeEarlyOutput();
  // The terminal's master, when the container has made it: output, input and window size.
  Status TakeTerminal(UniqueFd master);
  Status Attach(UniqueFd socket, const Attachment::Options& wants);
  Status Resize(uint16_t rows, uint16_t columns);
  // Null when there is no log.
  LogWriter* log() { return log_.get(); }

  // The process is gone: calls back once every output is at its end and written, at the latest
  // after `patience_ms` (somebody else may hold a pipe open). Not from inside this call.
  void Drain(int64_t patience_ms, std::function<void()> on_drained);

 private:
  struct Output {
    UniqueFd fd;
    OutputStream stream;
  };

  void OnOutput(Output& output);
  void CloseOutput(Output& output);
  void Deliver(OutputStream stream, std::string_view bytes);
  bool OnInput(std::string_view bytes);
  void OnAttachmentClosed(const Attachment* attachment);
  int input_fd() const;
  void FlushInput();
  void WatchInput();
  void CloseInput();
  void CloseTerminal();
  void CheckDrained();
  bool has_output() const;
  void FinishDrain();

  EventLoop& loop_;
  UniqueFd stdin_pipe_;
  UniqueFd terminal_;
  UniqueFd terminal_client_;
  std::unique_ptr<TerminalSession> session_;
  Output outputs_[2];
  StdinMode stdin_mode_;
  std::unique_ptr<LogWriter> log_;
  std::list<std::unique_ptr<Attachment>> attachments_;
  std::string input_queue_;
  bool close_input_when_empty_ = false;
  bool input_watched_ = false;
  std::function<void()> on_drained_;
  EventLoop::TimerId drain_timer_ = 0;
};

}  // namespace cais
