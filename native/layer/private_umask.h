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
  }
  PrivateUmask(const PrivateUmask&) = delete;
  PrivateUmask& operator=(const PrivateUmask&) = delete;
  ~PrivateUmask() {
    if (private_) (void)::umask(umask_);
  }

  // The mode of what was created with `mode`; where unshare is forbidden, one that nothing has.
  mode_t Created(mode_t mode) const { return private_ ? mode : ~mode_t{0}; }

 private:
  bool private_;
  mode_t umask_ = 0;
};

}  // namespace cais
