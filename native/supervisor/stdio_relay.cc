#include "supervisor/stdio_relay.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <algorithm>

namespace cais {

namespace {

constexpr size_t kReadBytes = 64 << 10;
// Read from one output before the others have their turn.
constexpr size_t kMaxTurnBytes = 256 << 10;
constexpr size_t kMaxAttachments = 64;
// Input kept for a container that does not read it; clients wait beyond that.
constexpr size_t kMaxInputBytes = 64 << 10;

}  // namespace

StdioRelay::StdioRelay(EventLoop& loop, Options options)
    : loop_(loop),
      stdin_pipe_(std::move(options.stdin_pipe)),
      terminal_client_(std::move(options.terminal_client)),
      outputs_{{std::move(options.stdout_pipe), OutputStream::kStdout},
               {std::move(options.stderr_pipe), OutputStream::kStderr}},
      stdin_mode_(options.stdin_mode),
      log_(std::move(options.log)) {}

StdioRelay::~StdioRelay() {
  for (Output& output : outputs_) loop_.Forget(output.fd.get());
  loop_.Forget(stdin_pipe_.get());
  loop_.Forget(terminal_.get());
  if (drain_timer_ != 0) loop_.CancelTimer(drain_timer_);
}

Status StdioRelay::Start() {
  for (Output& output : outputs_) {
    if (!output.fd) continue;
    Status watched =
        loop_.Watch(output.fd.get(), EPOLLIN, [this, &output](uint32_t) { OnOutput(output); });
    if (!watched.ok()) return watched;
  }
  return Done{};
}

std::string StdioRelay::TakeEarlyOutput() {
  std::string text;
  for (const Output& output : outputs_) {
    char bytes[4096];
    // At most what a pipe holds, since the writer may go on.
    for (size_t total = 0; output.fd && total < kReadBytes;) {
      const ssize_t count = read(output.fd.get(), bytes, sizeof bytes);
      if (count <= 0) break;
      total += static_cast<size_t>(count);
      if (text.size() < sizeof bytes) text.append(bytes, static_cast<size_t>(count));
    }
  }
  for (char& byte : text) {
    if (byte == '\0') byte = ' ';
  }
  return text;
}

Status StdioRelay::TakeTerminal(UniqueFd master) {
  // Two descriptors of one terminal: epoll knows each by its own number.
  terminal_.Reset(fcntl(master.get(), F_DUPFD_CLOEXEC, 3));
  if (!terminal_) return Errno("duplicate the terminal");
  if (terminal_client_) {
    session_ = std::make_unique<TerminalSession>(
        loop_, TerminalSession::Options{.master = std::move(master),
                                        .socket = std::move(terminal_client_),
                                        .on_hangup = [this] { CloseTerminal(); },
                                        .on_output_end = [this] { CheckDrained(); }});
    return session_->Start();
  }
  outputs_[0].fd = std::move(master);
  return Start();
}

int StdioRelay::input_fd() const { return terminal_ ? terminal_.get() : stdin_pipe_.get(); }

void StdioRelay::OnOutput(Output& output) {
  char bytes[kReadBytes];
  for (size_t total = 0; total < kMaxTurnBytes;) {
    const ssize_t count = read(output.fd.get(), bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    // A terminal whose slaves are all closed answers EIO.
    if (count <= 0) return CloseOutput(output);
    total += static_cast<size_t>(count);
    Deliver(output.stream, {bytes, static_cast<size_t>(count)});
  }
}

void StdioRelay::CloseOutput(Output& output) {
  if (!output.fd) return;
  loop_.Forget(output.fd.get());
  output.fd.Reset();
  if (log_) log_->End(output.stream);
  CheckDrained();
}

void StdioRelay::Deliver(OutputStream stream, std::string_view bytes) {
  if (log_) log_->Write(stream, bytes);
  const uint8_t chunk =
      stream == OutputStream::kStdout ? Attachment::kStdoutChunk : Attachment::kStderrChunk;
  for (const std::unique_ptr<Attachment>& attachment : attachments_) attachment->Send(chunk, bytes);
}

Status StdioRelay::Attach(UniqueFd socket, const Attachment::Options& wants) {
  if (attachments_.size() >= kMaxAttachments) return Failure{EUSERS, "attach", {}, {}};
  if (wants.wants_stdin && input_fd() < 0) return Failure{EPIPE, "attach stdin", {}, {}};
  auto& slot = attachments_.emplace_back();
  const std::list<std::unique_ptr<Attachment>>::iterator place = std::prev(attachments_.end());
  Attachment::Options options = wants;
  options.on_input = [this](std::string_view bytes) { return OnInput(bytes); };
  options.on_closed = [this, place] { OnAttachmentClosed(place->get()); };
  slot = std::make_unique<Attachment>(loop_, std::move(socket), std::move(options));
  if (!slot->Start()) {
    attachments_.erase(place);
    return Failure{EINVAL, "watch the attached socket", {}, {}};
  }
  return Done{};
}

bool StdioRelay::OnInput(std::string_view bytes) {
  if (input_fd() < 0) return true;
  if (bytes.empty()) {
    close_input_when_empty_ = stdin_mode_ == StdinMode::kPipeOnce && !terminal_;
  } else {
    input_queue_.append(bytes);
  }
  FlushInput();
  return input_queue_.size() < kMaxInputBytes;
}

void StdioRelay::FlushInput() {
  while (!input_queue_.empty()) {
    const ssize_t count = write(input_fd(), input_queue_.data(), input_queue_.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    if (count < 0) {
      // Nobody reads any more.
      input_queue_.clear();
      CloseInput();
      break;
    }
    input_queue_.erase(0, static_cast<size_t>(count));
  }
  if (input_queue_.empty() && close_input_when_empty_) CloseInput();
  WatchInput();
  if (input_queue_.size() >= kMaxInputBytes) return;
  for (const std::unique_ptr<Attachment>& attachment : attachments_) attachment->ResumeInput();
}

void StdioRelay::WatchInput() {
  const int fd = input_fd();
  if (fd < 0) return;
  const bool wanted = !input_queue_.empty();
  if (wanted == input_watched_) return;
  input_watched_ = wanted;
  if (wanted) {
    (void)loop_.Watch(fd, EPOLLOUT, [this](uint32_t) { FlushInput(); });
  } else {
    loop_.Forget(fd);
  }
}

void StdioRelay::CloseTerminal() {
  loop_.Forget(terminal_.get());
  input_watched_ = false;
  terminal_.Reset();
}

void StdioRelay::CloseInput() {
  if (!stdin_pipe_) return;
  loop_.Forget(stdin_pipe_.get());
  input_watched_ = false;
  stdin_pipe_.Reset();
}

void StdioRelay::OnAttachmentClosed(const Attachment* attachment) {
  const bool had_stdin = attachment->wants_stdin();
  attachments_.remove_if([attachment](const auto& other) { return other.get() == attachment; });
  if (!had_stdin || stdin_mode_ != StdinMode::kPipeOnce || terminal_) return;
  close_input_when_empty_ = true;
  FlushInput();
}

Status StdioRelay::Resize(uint16_t rows, uint16_t columns) {
  if (!terminal_) return Failure{ENOTTY, "resize", {}, {}};
  const winsize size = {rows, columns, 0, 0};
  if (ioctl(terminal_.get(), TIOCSWINSZ, &size) != 0) return Errno("TIOCSWINSZ");
  return Done{};
}

void StdioRelay::Drain(int64_t patience_ms, std::function<void()> on_drained) {
  CloseInput();
  on_drained_ = std::move(on_drained);
  drain_timer_ = loop_.AddTimer(has_output() ? patience_ms : 0, [this] { FinishDrain(); });
}

bool StdioRelay::has_output() const {
  return outputs_[0].fd || outputs_[1].fd || (session_ && session_->has_output());
}

void StdioRelay::CheckDrained() {
  if (!on_drained_ || has_output()) return;
  loop_.CancelTimer(drain_timer_);
  drain_timer_ = loop_.AddTimer(0, [this] { FinishDrain(); });
}

void StdioRelay::FinishDrain() {
  drain_timer_ = 0;
  for (Output& output : outputs_) {
    if (!output.fd) continue;
    OnOutput(output);
    CloseOutput(output);
  }
  if (session_) session_->Finish();
  if (drain_timer_ != 0) loop_.CancelTimer(drain_timer_);
  drain_timer_ = 0;
  CloseTerminal();
  for (const std::unique_ptr<Attachment>& attachment : attachments_) attachment->End();
  // The owner may destroy this from inside the call.
  const std::function<void()> on_drained = std::move(on_drained_);
  on_drained();
}

}  // namespace cais
