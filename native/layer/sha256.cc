#include "layer/sha256.h"

#include <openssl/evp.h>

#include <cstdlib>

namespace cais {
namespace {

// SHA-256 of bytes in memory has no way to fail but lack of memory at the start, or a FIPS set-up
// without it, in which node could not run either. A wrong digest must never pass for a right one.
void Require(bool worked) {
  if (!worked) std::abort();
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  Require(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::Update(std::string_view bytes) {
  Require(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

std::array<char, Sha256::kBytes> Sha256::FinishBytes() {
  std::array<char, kBytes> digest;
  unsigned int size = 0;
  Require(EVP_MD_CTX_size(context_.get()) == kBytes &&
          EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()),
                             &size) == 1);
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
