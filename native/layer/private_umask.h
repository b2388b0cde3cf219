#pragma once

#include <sched.h>
#include <sys/stat.h>
#include <sys/types.h>

namespace cais {

// No umask for this thread, so that files come with the mode they are created with. The umask
// belongs to the process, which is why the thread first leaves what it shares with the others
// (CLONE_FS of unshare(2)); it must not use relative paths from then on.
class PrivateUmask {
 public:
  PrivateUmask() : private_(::unshare(CLONE_FS) == 0) {
    if (private_) umask_ = ::umask(0);
    is_none_ = private_;
  }
  PrivateUmask(const PrivateUmask&) = delete;
  PrivateUmask& operator=(const PrivateUmask&) = delete;
  ~PrivateUmask() {
    is_none_ = false;
    if (private_) (void)::umask(umask_);
  }

  // The mode of what this thread has created with `mode`; one that nothing has if it may have a
  // umask, since it is not one of ours or unshare is forbidden.
  static mode_t Created(mode_t mode) { return is_none_ ? mode : ~mode_t{0}; }

 private:
  static inline thread_local bool is_none_ = false;

  bool private_;
  mode_t umask_ = 0;
};

}  // namespace cais
