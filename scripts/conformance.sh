#!/bin/sh
# critest against cais, after setting up what is missing; "npm run conformance -- --help" says what can be asked for.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh demo conformance
exec node test/conformance/main.mjs "$@"
