#include "supervisor/terminal_session.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace cais {

namespace {

constexpr size_t kPieceBytes = 32 << 10;
// More than a terminal's own buffers and ours hold together.
constexpr int kFinalBufferBytes = 512 << 10;

}  // namespace

TerminalSession::TerminalSession(EventLoop& loop, Options options)
    : loop_(loop),
      master_(std::move(options.master)),
      socket_(std::move(options.socket)),
      on_hangup_(std::move(options.on_hangup)),
      on_output_end_(std::move(options.on_output_end)) {}

TerminalSession::~TerminalSession() {
  CloseMaster();
  CloseSocket();
}

Status TerminalSession::Start() {
  if (fcntl(socket_.get(), F_SETFL, O_NONBLOCK) != 0) return Errno("fcntl O_NONBLOCK");
  Status watched =
      loop_.Watch(socket_.get(), EPOLLIN, [this](uint32_t events) { OnSocket(events); });
  if (watched.ok()) Update();
  return watched;
}

void TerminalSession::OnMaster(uint32_t events) {
  if ((events & EPOLLOUT) != 0) WriteInput();
  // A terminal whose slaves are all closed has no reader any more.
  if ((events & EPOLLHUP) != 0) input_.clear();
  if ((events & (EPOLLIN | EPOLLHUP)) != 0 && output_.empty()) (void)ReadOutput();
  Update();
}

void TerminalSession::OnSocket(uint32_t events) {
  if ((events & EPOLLOUT) != 0) SendOutput();
  if ((events & EPOLLIN) != 0 && input_.empty()) {
    ReadInput();
  } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
    HangUp();
  }
  Update();
}

bool TerminalSession::ReadOutput() {
  if (!master_) return false;
  char bytes[kPieceBytes];
  const ssize_t count = read(master_.get(), bytes, sizeof bytes);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (count <= 0) {
    // EIO: all slaves are closed, and what they wrote has been read.
    CloseMaster();
    return false;
  }
  output_.assign(bytes, static_cast<size_t>(count));
  SendOutput();
  return output_.empty();
}

void TerminalSession::SendOutput() {
  while (socket_ && !output_.empty()) {
    const ssize_t count =
        send(socket_.get(), output_.data(), output_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count < 0) return HangUp();
    output_.erase(0, static_cast<size_t>(count));
  }
}

void TerminalSession::ReadInput() {
  char bytes[kPieceBytes];
  const ssize_t count = recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) return HangUp();
  input_.assign(bytes, static_cast<size_t>(count));
  WriteInput();
}

void TerminalSession::WriteInput() {
  while (master_ && !input_.empty()) {
    const ssize_t count = write(master_.get(), input_.data(), input_.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count < 0) break;
    input_.erase(0, static_cast<size_t>(count));
  }
  input_.clear();
}

void TerminalSession::CloseMaster() {
  if (master_watched_) loop_.Forget(master_.get());
  master_watched_ = false;
  master_.Reset();
}

void TerminalSession::CloseSocket() {
  if (!socket_) return;
  loop_.Forget(socket_.get());
  socket_.Reset();
}

void TerminalSession::HangUp() {
  if (!socket_) return;
  CloseMaster();
  CloseSocket();
  output_.clear();
  on_hangup_();
  on_output_end_();
}

// The master is watched only for what can be done with it: its hang-up is told at every look,
// wanted or not, and while the client does not read nothing could be done about it.
void TerminalSession::Update() {
  if (!socket_) return;
  if (!master_ && output_.empty()) {
    CloseSocket();
    return on_output_end_();
  }
  uint32_t wanted = 0;
  if (input_.empty() && master_) wanted |= EPOLLIN;
  if (!output_.empty()) wanted |= EPOLLOUT;
  loop_.Change(socket_.get(), wanted);
  if (!master_) return;
  wanted = 0;
  if (output_.empty()) wanted |= EPOLLIN;
  if (!input_.empty()) wanted |= EPOLLOUT;
  if (wanted == 0) {
    if (master_watched_) loop_.Forget(master_.get());
    master_watched_ = false;
  } else if (master_watched_) {
    loop_.Change(master_.get(), wanted);
  } else {
    master_watched_ =
        loop_.Watch(master_.get(), wanted, [this](uint32_t events) { OnMaster(events); }).ok();
    if (!master_watched_) HangUp();
  }
}

void TerminalSession::Finish() {
  if (!socket_) return;
  // What is in a socket's buffer reaches its reader also after we have closed our end. Without the
  // privilege for a large buffer a client that does not read loses the end.
  (void)setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kFinalBufferBytes,
                   sizeof kFinalBufferBytes);
  SendOutput();
  while (output_.empty() && ReadOutput()) continue;
  CloseMaster();
  CloseSocket();
}

}  // namespace cais
