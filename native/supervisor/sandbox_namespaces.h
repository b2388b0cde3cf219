#pragma once

#include "kernel/result.h"
#include "supervisor/sandbox.h"

namespace cais {

// Makes the namespaces that the sandbox asks for and puts the caller, the supervisor, into them;
// host name and sysctls are set.
//
// With a user namespace of the pod's own, that one comes first and owns the others. The supervisor
// stays outside of it, since there it could neither join cgroups nor write logs; it keeps a
// descriptor, and what it starts goes in.
Status EnterNamespaces(Sandbox& sandbox);

}  // namespace cais
