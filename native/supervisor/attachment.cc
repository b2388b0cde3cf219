#include "supervisor/attachment.h"

#include <endian.h>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace cais {

Attachment::Attachment(EventLoop& loop, UniqueFd socket, Options options)
    : loop_(loop), socket_(std::move(socket)), options_(std::move(options)) {}

Attachment::~Attachment() { loop_.Forget(socket_.get()); }

bool Attachment::Start() {
  return loop_.Watch(socket_.get(), EPOLLIN, [this](uint32_t events) { OnReady(events); }).ok();
}

void Attachment::OnReady(uint32_t events) {
  if ((events & EPOLLOUT) != 0) Flush();
  if (closed_) return Close();
  if ((events & EPOLLIN) != 0 && input_open_ && !input_paused_) {
    ReadInput();
  } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
    closed_ = true;
  }
  if (closed_) return Close();
  UpdateEvents();
}

void Attachment::ReadInput() {
  char bytes[16 << 10];
  const ssize_t count = recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
  if (count < 0) {
    closed_ = errno != EAGAIN && errno != EINTR;
    return;
  }
  if (count == 0) {
    input_open_ = false;
    closed_ = !output_open_;
  }
  if (!options_.wants_stdin) return;
  input_paused_ = !options_.on_input({bytes, static_cast<size_t>(count)});
}

void Attachment::ResumeInput() {
  if (!input_paused_) return;
  input_paused_ = false;
  UpdateEvents();
}

void Attachment::Append(uint8_t chunk, std::string_view bytes) {
  const char head[4] = {static_cast<char>(chunk), 0, 0, 0};
  const uint32_t length = htole32(static_cast<uint32_t>(bytes.size()));
  queue_.append(head, sizeof head);
  queue_.append(reinterpret_cast<const char*>(&length), sizeof length);
  queue_.append(bytes);
}

void Attachment::Send(uint8_t chunk, std::string_view bytes) {
  const bool wanted = chunk == kStdoutChunk ? options_.wants_stdout : options_.wants_stderr;
  if (ending_ || closed_ || !output_open_ || !wanted) return;
  if (queue_.size() + bytes.size() > kMaxQueuedBytes) return End(kCutOff);
  Append(chunk, bytes);
  Flush();
  UpdateEvents();
}

void Attachment::End(std::string_view reason) {
  if (ending_ || closed_) return;
  ending_ = true;
  if (output_open_) Append(kEndChunk, reason);
  Flush();
  UpdateEvents();
}

void Attachment::Flush() {
  size_t sent = 0;
  while (sent < queue_.size()) {
    const ssize_t count = send(socket_.get(), queue_.data() + sent, queue_.size() - sent,
                               MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    // A client that has left may have written something before.
    if (count < 0) return CloseOutput();
    sent += static_cast<size_t>(count);
  }
  queue_.erase(0, sent);
  if (queue_.empty() && ending_) closed_ = true;
}

void Attachment::CloseOutput() {
  output_open_ = false;
  queue_.clear();
  closed_ = closed_ || ending_ || !input_open_;
}

// A closed attachment wakes by EPOLLOUT at once and is destroyed from its own callback, never from
// inside the relay that sends to it.
void Attachment::UpdateEvents() {
  uint32_t events = 0;
  if (input_open_ && !input_paused_) events |= EPOLLIN;
  if (!queue_.empty() || closed_) events |= EPOLLOUT;
  loop_.Change(socket_.get(), events);
}

void Attachment::Close() {
  loop_.Forget(socket_.get());
  const std::function<void()> on_closed = options_.on_closed;
  on_closed();
}

}  // namespace cais
