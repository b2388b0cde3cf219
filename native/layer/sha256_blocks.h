#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace cais {

// The compression function of SHA-256 (FIPS 180-4, 6.2.2) by the instructions that x86 processors
// have for it. One digest is a chain in which each step waits for the one before; the steps of two
// independent digests fit between each other, so that both take little more time than one. No
// library of Debian 12 or npm offers that.

constexpr size_t kSha256BlockBytes = 64;

// The eight words a to h.
using Sha256State = std::array<uint32_t, 8>;

// Whether this processor has the instructions; the functions below must not be called otherwise.
bool HasSha256Blocks();

// Takes `count` blocks at `bytes` into `state`.
void Sha256Blocks(Sha256State& state, const char* bytes, size_t count);
// The same for two digests, `count` blocks each.
void Sha256BlocksOfTwo(Sha256State& first, const char* first_bytes, Sha256State& second,
                       const char* second_bytes, size_t count);

}  // namespace cais
