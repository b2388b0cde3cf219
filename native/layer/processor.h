#pragma once

namespace cais {

#define CAIS_INLINE inline __attribute__((always_inline))

#ifdef __x86_64__

// For a second copy of a decoder's loop: shifts that need neither flags nor a certain register,
// masks and widths in one instruction, and words of 32 bytes. To be called only where UseAvx2 says
// so.
#define CAIS_AVX2 __attribute__((target("lzcnt,bmi,bmi2,avx2")))

// Whether the processor has it. Tests of the other copy set it to false.
inline bool& UseAvx2() {
  static bool use = __builtin_cpu_supports("lzcnt") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("avx2");
  return use;
}

#endif

}  // namespace cais
