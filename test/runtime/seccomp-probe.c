// Loads the seccomp program given on standard input, then makes the system calls given as arguments
// and prints the errno value of each (0: it went through), one a line.
//   <number>[:<arg0>[:<arg1>[:<arg2>]]]   by the 64-bit ABI; "i" in front: by int 0x80 (x86)
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static long CallOld(long number, unsigned long argument) {
#ifdef __x86_64__
  long result;
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"(number), "b"(argument), "c"(0L), "d"(0L)
                   : "memory", "r8", "r9", "r10", "r11");
  return result;
#else
  (void)number;
  (void)argument;
  return 0;
#endif
}

int main(int count, char** arguments) {
  static struct sock_filter code[4096];
  size_t length = 0;
  ssize_t got;
  while ((got = read(0, (char*)code + length, sizeof code - length)) > 0) length += (size_t)got;
  struct sock_fprog program = {(unsigned short)(length / sizeof code[0]), code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 10;
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) return 11;
  for (int i = 1; i < count; ++i) {
    char* text = arguments[i];
    const int old = *text == 'i';
    if (old) ++text;
    unsigned long values[4] = {0, 0, 0, 0};
    for (int j = 0; j < 4 && *text != '\0'; ++j) {
      values[j] = strtoul(text, &text, 0);
      if (*text == ':') ++text;
    }
    int error = 0;
    if (old) {
      const int result = (int)CallOld((long)values[0], values[1]);
      if (result < 0) error = -result;
    } else if (syscall((long)values[0], values[1], values[2], values[3], 0L, 0L, 0L) < 0) {
      error = errno;
    }
    printf("%d\n", error);
  }
  return 0;
}
