#!/bin/sh
# Makes a clone of cais ready to run: checks the machine, installs Debian packages and npm packages that are missing, builds the
# native parts, dist/ and dist-cli/. Does nothing, quickly, when all is there. `npm start` and `npm test` call it first.
#
#   sh scripts/setup.sh [LIST…]     LIST names scripts/packages-LIST.txt; "build" is always included
#
# Outside the clone it writes only what apt-get installs, and below CAIS_CACHE_DIR (default ~/.cache/cais).
set -eu

cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# ---- Can this machine work at all? ---------------------------------------------------------------------------------------------

check_machine() {
  [ "$(uname -s)" = Linux ] || fail "cais runs on Linux only; this is $(uname -s)."
  case $(uname -m) in
    x86_64 | aarch64) ;;
    *) fail "cais runs on x86-64 and arm64; this machine is $(uname -m)." ;;
  esac

  command -v node >/dev/null || fail "Node.js 20 or newer is needed; install it from your distribution or nodejs.org."
  command -v npm >/dev/null || fail "npm is needed; it comes with Node.js."
  node_version=$(node --version)
  node_major=${node_version#v}
  [ "${node_major%%.*}" -ge 20 ] || fail "Node.js 20 or newer is needed; this is $node_version."

  release=$(uname -r)
  major=${release%%.*}
  minor=${release#*.}
  minor=${minor%%[!0-9]*}
  if [ "$major" -lt 5 ] || { [ "$major" -eq 5 ] && [ "$minor" -lt 14 ]; }; then
    fail "Linux 5.14 or newer is needed (overlayfs and mounts by descriptor); this is $release."
  fi

  # Field 4 of a mount's line begins with "ro" or "rw".
  grep -Eq '^[^ ]+ [^ ]+ cgroup2? (rw|[^ ]*,rw)' /proc/self/mounts 2>/dev/null ||
    fail "No writable cgroup hierarchy is mounted below /sys/fs/cgroup; mount one (mount -t cgroup2 none /sys/fs/cgroup) or give this container one."
}

check_root() {
  [ "$(id -u)" -eq 0 ] || fail "Root is needed, since containers need mounts, namespaces and cgroups; run this with sudo."

  if ! grep -qw overlay /proc/filesystems; then
    modprobe overlay 2>/dev/null || true
    grep -qw overlay /proc/filesystems || fail "The kernel has no overlayfs (module \"overlay\"); load it or use a kernel that has it."
  fi
}

# ---- Debian packages -----------------------------------------------------------------------------------------------------------

# Is the program in PATH, or does a file match the pattern?
is_there() {
  case $1 in
    /*)
      for match in $1; do [ -e "$match" ] && return 0; done
      return 1
      ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

# Prints the packages of the lists that are not satisfied.
missing_packages() {
  for list in "$@"; do
    [ -r "scripts/packages-$list.txt" ] || fail "Unknown package list \"$list\"."
    while read -r package probe; do
      case $package in '' | '#'*) continue ;; esac
      is_there "$probe" || printf '%s ' "$package"
    done <"scripts/packages-$list.txt"
  done
}

# Packages such as docker-registry start a service when they are installed; this Debian mechanism forbids it meanwhile.
policy=/usr/sbin/policy-rc.d
forbid_services() {
  trap restore_policy EXIT
  trap 'exit 130' INT TERM HUP
  [ -e "$policy" ] && [ ! -e "$policy.before-cais" ] && mv "$policy" "$policy.before-cais"
  printf '#!/bin/sh\n# Put here by the set-up of cais while it installs packages.\nexit 101\n' >"$policy"
  chmod 755 "$policy"
}
restore_policy() {
  rm -f "$policy"
  [ ! -e "$policy.before-cais" ] || mv "$policy.before-cais" "$policy"
  trap - EXIT INT TERM HUP
}

install_packages() {
  if ! command -v apt-get >/dev/null; then
    fail "Missing: $* (names of Debian packages); install their like with this system's package manager."
  fi
  if [ "$(id -u)" -ne 0 ]; then
    fail "Missing packages; run: sudo apt-get update && sudo apt-get install -y --no-install-recommends $*"
  fi
  say "installing Debian packages: $*"
  forbid_services
  if ! apt_get_install "$@"; then
    say "refreshing the package lists (apt-get update)"
    apt-get -q -o DPkg::Lock::Timeout=300 update </dev/null || fail "apt-get update failed."
    apt_get_install "$@" --report || fail "Cannot install packages; try: apt-get install --no-install-recommends $*"
  fi
  # Forbidding the start leaves the services enabled for the next boot; nobody asked for them there.
  if command -v systemctl >/dev/null; then
    for unit in docker-registry.service containerd.service podman.service podman.socket podman-auto-update.timer; do
      case " $* " in
        *" ${unit%%[.-]*}"*) [ ! -e "/lib/systemd/system/$unit" ] || systemctl disable --quiet "$unit" 2>/dev/null || true ;;
      esac
    done
  fi
  restore_policy
}

# Old or absent lists make the first try fail; that is expected, so its output is kept only with --report.
apt_get_install() {
  packages= report=
  for word in "$@"; do
    if [ "$word" = --report ]; then report=1; else packages="$packages $word"; fi
  done
  mkdir -p .cache
  # shellcheck disable=SC2086 # a list of words
  if DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $packages </dev/null >.cache/apt.log 2>&1; then
    return 0
  fi
  [ -z "$report" ] || tail -n 20 .cache/apt.log >&2
  return 1
}

# ---- npm packages --------------------------------------------------------------------------------------------------------------

install_npm_packages() {
  stamp=node_modules/.cais-lock
  if [ -e "$stamp" ] && cmp -s package-lock.json "$stamp"; then return; fi
  # Somebody ran "npm ci" by hand after the last change of the lock file.
  if [ -e node_modules/.package-lock.json ] && [ node_modules/.package-lock.json -nt package-lock.json ]; then
    cp package-lock.json "$stamp"
    return
  fi
  say "installing npm packages (npm ci)"
  npm ci --no-audit --no-fund --loglevel=error </dev/null || fail "npm ci failed."
  cp package-lock.json "$stamp"
}

# ---- All of it -----------------------------------------------------------------------------------------------------------------

check_machine
missing=$(missing_packages build "$@")
# shellcheck disable=SC2086 # a list of words
[ -z "$missing" ] || install_packages $missing
check_root

# Two set-ups of one clone at once would write the same files.
mkdir -p .cache
if command -v flock >/dev/null; then
  exec 9>.cache/setup.lock
  flock 9
fi
install_npm_packages
node scripts/build-native.mjs --if-changed
node scripts/build-typescript.mjs --if-changed
