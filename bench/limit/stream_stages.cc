#include "stream_stages.h"

#include <fcntl.h>
#include <isa-l.h>
#include <openssl/evp.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace {

constexpr size_t kOutputBytes = size_t{512} << 10;
constexpr size_t kPieceBytes = size_t{1} << 20;
// ISA-L counts its input in 32 bits.
constexpr size_t kMaxInputBytes = size_t{1} << 30;

void FailWithoutErrno(const std::string& message) {
  errno = 0;
  Fail(message);
}

// Checks a stretch of output against the tar and returns where the next one begins.
size_t Compare(Bytes tar, size_t offset, Bytes output) {
  if (output.size() > tar.size() - offset ||
      std::memcmp(tar.data() + offset, output.data(), output.size()) != 0) {
    FailWithoutErrno("the decompressed blob differs from the tar");
  }
  return offset + output.size();
}

}  // namespace

Stopwatch MeasureGzip(Bytes blob, Bytes tar) {
  std::vector<unsigned char> output(kOutputBytes);
  std::vector<inflate_state> states(1);
  inflate_state& state = states.front();
  isal_inflate_init(&state);
  state.crc_flag = ISAL_GZIP;
  state.next_in = const_cast<unsigned char*>(blob.data());
  size_t offset = 0;
  Stopwatch watch;
  const unsigned char* end = blob.data() + blob.size();
  while (state.next_in < end || state.block_state != ISAL_BLOCK_FINISH) {
    if (state.block_state == ISAL_BLOCK_FINISH) {
      // Another member follows.
      unsigned char* next = state.next_in;
      isal_inflate_reset(&state);
      state.crc_flag = ISAL_GZIP;
      state.next_in = next;
    }
    state.avail_in =
        static_cast<uint32_t>(std::min(static_cast<size_t>(end - state.next_in), kMaxInputBytes));
    state.next_out = output.data();
    state.avail_out = static_cast<uint32_t>(output.size());
    watch.Start();
    const int result = isal_inflate(&state);
    watch.Stop();
    const size_t count = output.size() - state.avail_out;
    if (result != ISAL_DECOMP_OK || (count == 0 && state.block_state != ISAL_BLOCK_FINISH)) {
      FailWithoutErrno("cannot decompress the blob (ISA-L says " + std::to_string(result) + ")");
    }
    offset = Compare(tar, offset, {output.data(), count});
  }
  if (offset != tar.size()) FailWithoutErrno("the decompressed blob is shorter than the tar");
  return watch;
}

Stopwatch MeasureZstd(Bytes blob, Bytes tar) {
  std::vector<unsigned char> output(kOutputBytes);
  ZSTD_DCtx* context = ZSTD_createDCtx();
  ZSTD_inBuffer source{blob.data(), blob.size(), 0};
  size_t offset = 0;
  size_t rest = 1;
  Stopwatch watch;
  while (source.pos < source.size || rest != 0) {
    ZSTD_outBuffer target{output.data(), output.size(), 0};
    watch.Start();
    rest = ZSTD_decompressStream(context, &target, &source);
    watch.Stop();
    if (ZSTD_isError(rest) != 0) {
      FailWithoutErrno(std::string("cannot decompress the blob: ") + ZSTD_getErrorName(rest));
    }
    if (target.pos == 0 && source.pos == source.size && rest != 0) {
      FailWithoutErrno("the blob is cut short");
    }
    offset = Compare(tar, offset, {output.data(), target.pos});
  }
  ZSTD_freeDCtx(context);
  if (offset != tar.size()) FailWithoutErrno("the decompressed blob is shorter than the tar");
  return watch;
}

Stopwatch MeasureSha256(Bytes bytes, const std::string& expected) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int digest_bytes = 0;
  EVP_MD* algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  Stopwatch watch;
  watch.Start();
  int succeeded = EVP_DigestInit_ex2(context, algorithm, nullptr);
  for (size_t offset = 0; offset < bytes.size(); offset += kPieceBytes) {
    const Bytes piece = bytes.subspan(offset, std::min(kPieceBytes, bytes.size() - offset));
    succeeded &= EVP_DigestUpdate(context, piece.data(), piece.size());
  }
  succeeded &= EVP_DigestFinal_ex(context, digest, &digest_bytes);
  watch.Stop();
  EVP_MD_CTX_free(context);
  EVP_MD_free(algorithm);

  std::string computed = "sha256:";
  constexpr char kDigits[] = "0123456789abcdef";
  for (unsigned int i = 0; i < digest_bytes; ++i) {
    computed += kDigits[digest[i] >> 4];
    computed += kDigits[digest[i] & 15];
  }
  if (succeeded != 1 || computed != expected) {
    FailWithoutErrno("expected " + expected + ", computed " + computed);
  }
  return watch;
}

namespace {

Stopwatch WriteFile(Bytes bytes, const std::string& path) {
  std::vector<unsigned char> buffer(kPieceBytes);
  Stopwatch watch;
  watch.Start();
  const int fd = open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  watch.Stop();
  if (fd < 0) Fail("cannot create \"" + path + "\"");
  for (size_t offset = 0; offset < bytes.size(); offset += kPieceBytes) {
    const size_t count = std::min(kPieceBytes, bytes.size() - offset);
    std::memcpy(buffer.data(), bytes.data() + offset, count);
    watch.Start();
    WriteAll(fd, {buffer.data(), count});
    watch.Stop();
  }
  watch.Start();
  close(fd);
  watch.Stop();
  return watch;
}

}  // namespace

Stopwatch MeasureWrite(Bytes bytes, const std::string& path) {
  // The pages that it leaves are the first that the second one gets: the host has not taken them.
  (void)WriteFile(bytes, path);
  if (unlink(path.c_str()) != 0) Fail("cannot remove \"" + path + "\"");
  return WriteFile(bytes, path);
}
