#!/bin/sh
# Every test, after setting up what is missing. Arguments go to vitest:
#   npm test                            everything
#   npm test -- test/registry           the files whose path has this in it
#   npm test -- --project main          without the virtual machine and the fresh system
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh demo test conformance
node test/conformance/prepare.mjs
exec node scripts/run-tests.mjs "$@"
