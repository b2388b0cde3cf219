#include "layer/sha256.h"

#include <openssl/evp.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>

namespace cais {
namespace {

// The initial hash value (FIPS 180-4, 5.3.3).
constexpr Sha256State kInitialState = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

// SHA-256 of bytes in memory has no way to fail but lack of memory at the start, or a FIPS set-up
// without it, in which node could not run either. A wrong digest must never pass for a right one.
void Require(bool worked) {
  if (!worked) std::abort();
}

template <typename Number>
void StoreBigEndian(char* at, Number number) {
  if constexpr (std::endian::native == std::endian::little) {
    number = sizeof(number) == 8 ? __builtin_bswap64(number)
                                 : __builtin_bswap32(static_cast<uint32_t>(number));
  }
  std::memcpy(at, &number, sizeof(number));
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256(By by) : state_(kInitialState) {
  if (by == By::kFastest && HasSha256Blocks()) return;
  openssl_.reset(EVP_MD_CTX_new());
  Require(openssl_ != nullptr && EVP_DigestInit_ex(openssl_.get(), EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

std::string_view Sha256::FillBlock(std::string_view bytes) {
  if (block_bytes_ == 0 || bytes.empty()) return bytes;
  const size_t part = std::min(bytes.size(), kSha256BlockBytes - block_bytes_);
  std::memcpy(block_.data() + block_bytes_, bytes.data(), part);
  block_bytes_ += part;
  if (block_bytes_ == kSha256BlockBytes) {
    Sha256Blocks(state_, block_.data(), 1);
    block_bytes_ = 0;
  }
  return bytes.substr(part);
}

void Sha256::KeepRest(std::string_view bytes) {
  const size_t blocks = bytes.size() / kSha256BlockBytes;
  Sha256Blocks(state_, bytes.data(), blocks);
  bytes.remove_prefix(blocks * kSha256BlockBytes);
  if (bytes.empty()) return;
  std::memcpy(block_.data(), bytes.data(), bytes.size());
  block_bytes_ = bytes.size();
}

void Sha256::Update(std::string_view bytes) {
  if (openssl_ != nullptr) {
    return Require(EVP_DigestUpdate(openssl_.get(), bytes.data(), bytes.size()) == 1);
  }
  bytes_ += bytes.size();
  KeepRest(FillBlock(bytes));
}

void Sha256::UpdateBoth(Sha256& first, std::string_view first_bytes, Sha256& second,
                        std::string_view second_bytes) {
  if (first.openssl_ != nullptr || second.openssl_ != nullptr) {
    first.Update(first_bytes);
    second.Update(second_bytes);
    return;
  }
  first.bytes_ += first_bytes.size();
  second.bytes_ += second_bytes.size();
  first_bytes = first.FillBlock(first_bytes);
  second_bytes = second.FillBlock(second_bytes);
  const size_t blocks = std::min(first_bytes.size(), second_bytes.size()) / kSha256BlockBytes;
  Sha256BlocksOfTwo(first.state_, first_bytes.data(), second.state_, second_bytes.data(), blocks);
  first.KeepRest(first_bytes.substr(blocks * kSha256BlockBytes));
  second.KeepRest(second_bytes.substr(blocks * kSha256BlockBytes));
}

std::array<char, Sha256::kBytes> Sha256::FinishBytes() {
  std::array<char, kBytes> digest;
  if (openssl_ != nullptr) {
    unsigned int size = 0;
    Require(EVP_MD_CTX_size(openssl_.get()) == kBytes &&
            EVP_DigestFinal_ex(openssl_.get(), reinterpret_cast<unsigned char*>(digest.data()),
                               &size) == 1);
    return digest;
  }
  // A one bit, zeros, and the number of bits in the last eight bytes of a block (FIPS
  // 180-4, 5.1.1).
  std::array<char, 2 * kSha256BlockBytes> last{};
  std::memcpy(last.data(), block_.data(), block_bytes_);
  last[block_bytes_] = '\x80';
  const size_t blocks = block_bytes_ + 1 + sizeof(uint64_t) > kSha256BlockBytes ? 2 : 1;
  StoreBigEndian(last.data() + blocks * kSha256BlockBytes - sizeof(uint64_t), bytes_ * 8);
  Sha256Blocks(state_, last.data(), blocks);
  for (size_t i = 0; i < state_.size(); ++i) StoreBigEndian(digest.data() + 4 * i, state_[i]);
  return digest;
}

std::string Sha256::Finish() {
  constexpr char kHex[] = "0123456789abcdef";
  std::string text = "sha256:";
  for (const char c : FinishBytes()) {
    const auto byte = static_cast<unsigned char>(c);
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

}  // namespace cais
