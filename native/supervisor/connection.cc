#include "supervisor/connection.h"

#include <sys/epoll.h>

namespace cais {

namespace {

// Frames of one client before the others have their turn.
constexpr int kMaxFramesPerTurn = 16;

}  // namespace

Connection::Connection(EventLoop& loop, UniqueFd socket, Options options)
    : loop_(loop), socket_(std::move(socket)), options_(std::move(options)) {}

Connection::~Connection() { loop_.Forget(socket_.get()); }

Status Connection::Start() {
  return loop_.Watch(socket_.get(), EPOLLIN, [this](uint32_t events) { OnReady(events); });
}

void Connection::OnReady(uint32_t events) {
  if ((events & EPOLLOUT) != 0) Flush();
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) ReadFrames();
  if (!broken_) return UpdateEvents();
  loop_.Forget(socket_.get());
  const std::function<void(Connection&)> on_closed = options_.on_closed;
  on_closed(*this);
}

void Connection::ReadFrames() {
  for (int count = 0; count < kMaxFramesPerTurn && !broken_; ++count) {
    Frame frame;
    Result<FrameReader::Progress> progress = reader_.Read(socket_.get(), &frame);
    if (!progress.ok() || progress.value() == FrameReader::Progress::kEnd) {
      broken_ = true;
      return;
    }
    if (progress.value() == FrameReader::Progress::kWouldBlock) return;
    options_.on_frame(*this, std::move(frame));
  }
}

void Connection::Send(FrameType type, uint32_t request_id, std::string_view payload,
                      const std::vector<int>& fds) {
  if (broken_) return;
  broken_ = !writer_.Queue(static_cast<uint16_t>(type), request_id, payload, fds).ok();
  Flush();
  UpdateEvents();
}

void Connection::Flush() {
  // A write that fails says nothing of what the client sent before it went: the end comes by
  // reading.
  if (!writer_.Flush(socket_.get()).ok()) writer_.Clear();
}

// A broken connection wakes at once, to be closed from its own callback.
void Connection::UpdateEvents() {
  uint32_t events = EPOLLIN;
  if (broken_ || !writer_.empty()) events |= EPOLLOUT;
  loop_.Change(socket_.get(), events);
}

}  // namespace cais
