// Reads a tar from standard input and prints what the tar reader makes of it, one JSON object a
// line; the last one is {"tarBytes":…} or {"code":…,"message":…}.
//   tar_events [SPLITS [MAX_ENTRIES [MAX_METADATA_BYTES]]]
// Then reads it again SPLITS times, each time cut into other pieces, and fails when anything
// differs.

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>

#include "../fuzz/recording_end.h"
#include "layer/tar_reader.h"

namespace {

using cais::RecordingEnd;
using cais::TarReader;

std::string ReadAll(int fd) {
  std::string all;
  char buffer[65536];
  ssize_t got = 0;
  while ((got = ::read(fd, buffer, sizeof buffer)) > 0)
    all.append(buffer, static_cast<size_t>(got));
  return all;
}

// `seed` 0: in one piece.
std::string Events(const std::string& tar, const cais::TarLimits& limits, unsigned seed) {
  RecordingEnd end;
  TarReader reader(end, limits);
  std::mt19937 random(seed);
  // Some cuts into few pieces, some into many, among them single bytes.
  const size_t longest = seed == 0 ? tar.size() + 1 : (size_t{1} << (random() % 14)) + 1;
  cais::Status fed = cais::Done{};
  for (size_t at = 0; at < tar.size() && fed.ok();) {
    const size_t part = std::min(tar.size() - at, 1 + random() % longest);
    const size_t length = seed == 0 ? tar.size() : part;
    // A piece of its own on the heap, so that a sanitizer sees reads beyond it.
    const auto piece = std::make_unique<char[]>(length);
    tar.copy(piece.get(), length, at);
    fed = reader.Feed({piece.get(), length});
    at += length;
  }
  cais::Failure failure;
  if (fed.ok()) {
    const cais::Result<cais::EndSummary> finished = reader.Finish();
    if (finished.ok()) return end.events();
    failure = finished.failure();
  } else {
    failure = fed.failure();
  }
  return end.events() + "{\"code\":\"" + failure.code +
         "\",\"message\":" + cais::JsonText(failure.path) + "}\n";
}

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int index, uint64_t otherwise) {
    return argc > index ? std::strtoull(argv[index], nullptr, 10) : otherwise;
  };
  const cais::TarLimits limits{argument(2, 1000), argument(3, 64 << 20)};
  const std::string tar = ReadAll(0);
  const std::string events = Events(tar, limits, 0);
  std::fputs(events.c_str(), stdout);
  for (unsigned seed = 1; seed <= argument(1, 0); ++seed) {
    const std::string others = Events(tar, limits, seed);
    if (others == events) continue;
    std::fprintf(stderr, "cut by seed %u, the tar reads differently:\n%s", seed, others.c_str());
    return 3;
  }
  return 0;
}
