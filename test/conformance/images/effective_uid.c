// The program of the nonewprivs image, owned by root and set-user-ID: prints what that bit did for
// the caller.
#include <stdio.h>
#include <unistd.h>

int main(void) {
  printf("Effective uid: %d\n", (int)geteuid());
  return 0;
}
