#pragma once

#include <cstddef>
#include <cstdio>
#include <string>

namespace cais {

// Gives every block that looks like a tar header a right checksum: without this, nearly every
// mutation would end at the checksum.
inline void FixChecksums(std::string& tar) {
  for (size_t at = 0; at + 512 <= tar.size(); at += 512) {
    if (tar.compare(at + 257, 5, "ustar") != 0) continue;
    tar.replace(at + 148, 8, 8, ' ');
    unsigned sum = 0;
    for (size_t i = at; i < at + 512; ++i) sum += static_cast<unsigned char>(tar[i]);
    char text[8];
    std::snprintf(text, sizeof text, "%06o", sum);
    tar.replace(at + 148, 7, text, 7);
  }
}

}  // namespace cais
