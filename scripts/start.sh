#!/bin/sh
# The demo: sets up what is missing, then runs the pod of examples/pod.yaml and shows its log.
#   npm start                  with an image made on the spot from Debian's busybox, pulled from a registry on loopback
#   npm start -- IMAGE         with any image that has a shell, e.g. docker.io/library/busybox
set -eu
cd "$(dirname "$0")/.."
if [ $# -eq 0 ]; then sh scripts/setup.sh demo; else sh scripts/setup.sh; fi
exec node scripts/demo.mjs "$@"
