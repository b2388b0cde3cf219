// The tar reader: any input, cut in two ways, gives the same events or the same failure, keeps the
// contract of LayerEnd and stays within its bounds.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "fix_checksums.h"
#include "layer/tar_reader.h"
#include "recording_end.h"

namespace {

std::string Read(const std::string& tar, size_t first_piece) {
  cais::RecordingEnd end;
  cais::TarReader reader(end, {100, 1 << 20});
  cais::Status fed = cais::Done{};
  for (size_t at = 0; at < tar.size() && fed.ok();) {
    // Uneven pieces, each on the heap by itself.
    const size_t length = std::min(tar.size() - at, at == 0 ? first_piece : first_piece % 777 + 1);
    const auto piece = std::make_unique<char[]>(length);
    tar.copy(piece.get(), length, at);
    fed = reader.Feed({piece.get(), length});
    at += length;
  }
  if (!fed.ok()) return end.events() + fed.failure().code + fed.failure().path;
  const auto finished = reader.Finish();
  return finished.ok() ? end.events() : end.events() + finished.failure().code;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string tar(reinterpret_cast<const char*>(data), size);
  cais::FixChecksums(tar);
  const std::string whole = Read(tar, tar.size());
  const std::string cut = Read(tar, 1 + (data[size / 2] * 131u + data[0]) % size);
  if (whole != cut) {
    std::fprintf(stderr, "whole:\n%s\ncut:\n%s\n", whole.c_str(), cut.c_str());
    std::abort();
  }
  return 0;
}
