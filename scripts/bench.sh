#!/bin/sh
# `npm run bench`: sets up what is missing (test packages, and the libraries of the limit program), then measures. Peers are installed
# only when asked for, by --install-peers.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh demo test bench-limit
exec node bench/main.mjs "$@"
