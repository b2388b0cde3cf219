#include "kernel/syscalls.h"
