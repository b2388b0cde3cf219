// gzip and zstd: any input, with outputs of two sizes, gives the same bytes or the same failure;
// what both libraries for gzip accept is the same bytes; what is accepted with check sums is so
// without them.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "layer/decompress.h"

namespace {

constexpr size_t kMaxOutputBytes = 4 << 20;

struct Outcome {
  std::string output;   // up to the end or the failure
  std::string failure;  // its code; empty: none

  bool operator==(const Outcome&) const = default;
};

// Nothing: more output than this test waits for.
std::optional<Outcome> Run(cais::Compression compression, cais::DecompressorOptions options,
                           const std::string& input, size_t piece_bytes) {
  bool is_free = false;
  options.pieces = {piece_bytes, 2, {}, [&is_free] { is_free = true; }};
  auto decompressor = cais::OpenDecompressor(compression, options);
  if (!decompressor.ok()) std::abort();
  Outcome outcome;
  // All are kept: the decompressor must say that it is full, and then that it is not, and must not
  // touch them before.
  struct Kept {
    cais::PieceRef piece;
    std::string bytes;
  };
  std::deque<Kept> kept;
  const auto take = [&outcome, &kept](cais::PieceRef piece) {
    if (piece->size == 0 || piece->size > piece->capacity) std::abort();
    outcome.output += piece->view();
    kept.push_back({piece, std::string(piece->view())});
  };
  const auto give_back = [&is_free, &kept] {
    for (is_free = false; !is_free && !kept.empty(); kept.pop_front()) {
      if (kept.front().piece->view() != kept.front().bytes) std::abort();
    }
    return is_free;
  };
  // The second half, of all that was read. False: a failure.
  const auto follow = [&](cais::Decompressor& decompressor) {
    for (;;) {
      auto followed = decompressor.Follow();
      if (!followed.ok()) {
        outcome = {{}, followed.failure().code};
        return false;
      }
      auto& [piece, next] = followed.value();
      if (piece != nullptr) take(std::move(piece));
      if (next == cais::Decompressor::Followed::kEnded) return true;
      if (outcome.output.size() > kMaxOutputBytes) return true;
      if (next == cais::Decompressor::Followed::kNothing && !give_back()) return true;
    }
  };
  for (size_t at = 0; at < input.size();) {
    const size_t length = std::min(input.size() - at, piece_bytes);
    const auto chunk = std::make_unique<char[]>(length);
    input.copy(chunk.get(), length, at);
    at += length;
    std::string_view rest(chunk.get(), length);
    for (bool again = true; again;) {
      auto step = decompressor.value()->Run(rest);
      if (!step.ok()) return Outcome{{}, step.failure().code};
      auto& [consumed, piece, is_full] = step.value();
      if (consumed > rest.size()) std::abort();
      rest.remove_prefix(consumed);
      again = is_full || piece != nullptr || !rest.empty();
      if (is_full) {
        if (piece != nullptr) std::abort();
        // Only now, so that the first half goes as far ahead as it may.
        if (decompressor.value()->is_divided()) {
          if (!follow(*decompressor.value())) return outcome;
        } else if (!give_back()) {
          std::abort();
        }
      } else if (piece != nullptr) {
        take(std::move(piece));
      } else if (!rest.empty() && consumed == 0) {
        return Outcome{{}, "no progress"};
      }
      if (outcome.output.size() > kMaxOutputBytes) return std::nullopt;
    }
  }
  auto last = decompressor.value()->Finish();
  if (!last.ok()) return Outcome{{}, last.failure().code};
  if (last.value() != nullptr) take(std::move(last.value()));
  if (!follow(*decompressor.value())) return outcome;
  if (outcome.output.size() > kMaxOutputBytes) return std::nullopt;
  give_back();
  return outcome;
}

void RequireEqual(const std::optional<Outcome>& one, const std::optional<Outcome>& other) {
  if (!one || !other || *one == *other) return;
  std::fprintf(stderr, "one: %zu bytes %s\nother: %zu bytes %s\n", one->output.size(),
               one->failure.c_str(), other->output.size(), other->failure.c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const cais::Compression compression = cais::DetectCompression(input);
  if (compression == cais::Compression::kNone) return 0;
  const size_t small_bytes = 37 + size % 1000;
  std::optional<Outcome> by_library[2];
  for (const cais::GzipLibrary library : {cais::GzipLibrary::kOwn, cais::GzipLibrary::kZlib}) {
    const auto large = Run(compression, {.gzip_library = library}, input, 1 << 18);
    const auto small = Run(compression, {.gzip_library = library}, input, small_bytes);
    // With much output, one of them may reach the bound of this test before the failure.
    RequireEqual(large, small);
    const auto unverified =
        Run(compression, {.gzip_library = library, .verify_checksums = false}, input, 1 << 18);
    RequireEqual(unverified, Run(compression, {.gzip_library = library, .verify_checksums = false},
                                 input, small_bytes));
    if (large && large->failure.empty()) RequireEqual(large, unverified);
    by_library[static_cast<int>(library)] = large;
    if (compression != cais::Compression::kGzip) return 0;
  }
  const auto& [own, zlib] = by_library;
  // They find faults at different places.
  if (own && zlib && own->failure.empty() && zlib->failure.empty()) {
    RequireEqual(own, zlib);
  }
  return 0;
}
