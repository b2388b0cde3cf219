#include "download.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string_view>
#include <vector>

#include "file.h"

namespace {

constexpr size_t kBufferBytes = size_t{256} << 10;
constexpr std::string_view kEndOfHeader = "\r\n\r\n";

size_t Receive(int fd, std::vector<char>& buffer, size_t offset) {
  for (;;) {
    const ssize_t count = recv(fd, buffer.data() + offset, buffer.size() - offset, 0);
    if (count > 0) return static_cast<size_t>(count);
    if (count < 0 && errno == EINTR) continue;
    Fail("the registry's answer ended too soon");
  }
}

// The length that the header of a successful answer promises; ends the program for any other
// answer.
uint64_t ReadContentLength(std::string_view header) {
  errno = 0;
  if (!header.starts_with("HTTP/1.1 200 ")) {
    Fail("the registry answered \"" + std::string(header.substr(0, header.find('\r'))) + "\"");
  }
  constexpr std::string_view kName = "\r\nContent-Length: ";
  const size_t found = header.find(kName);
  if (found == std::string_view::npos) Fail("the registry names no Content-Length");
  uint64_t length = 0;
  std::from_chars(header.data() + found + kName.size(), header.data() + header.size(), length);
  return length;
}

}  // namespace

Registry::Registry(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd_ < 0 || connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    Fail("cannot connect to port " + std::to_string(port));
  }
}

Registry::~Registry() { close(fd_); }

Stopwatch Registry::MeasureDownload(const std::string& path, uint64_t bytes) {
  std::vector<char> buffer(kBufferBytes);
  const std::string request = "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n";
  Stopwatch watch;
  watch.Start();
  WriteAll(fd_, {reinterpret_cast<const unsigned char*>(request.data()), request.size()});
  size_t filled = 0;
  size_t header_end = std::string_view::npos;
  while (header_end == std::string_view::npos) {
    if (filled == buffer.size()) Fail("the header of the answer is too long");
    filled += Receive(fd_, buffer, filled);
    header_end = std::string_view(buffer.data(), filled).find(kEndOfHeader);
  }
  const uint64_t length = ReadContentLength({buffer.data(), header_end + 2});
  uint64_t received = filled - header_end - kEndOfHeader.size();
  while (received < length) received += Receive(fd_, buffer, 0);
  watch.Stop();
  errno = 0;
  if (length != bytes || received != bytes) {
    Fail("\"" + path + "\" has " + std::to_string(received) + " bytes, not " +
         std::to_string(bytes));
  }
  return watch;
}
