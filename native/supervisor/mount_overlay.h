#pragma once

namespace cais {

// `cais-supervisor mount-overlay`: mounts an overlay by mount(2), for kernels before 6.7, and hands
// it over as a descriptor; see PROTOCOL.md, "Start". Node cannot do it itself: it has threads, and
// mount(2) needs a mount namespace and a working directory of its own.
int RunMountOverlay();

}  // namespace cais
