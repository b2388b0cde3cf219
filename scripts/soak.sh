#!/bin/sh
# Thousands of sessions against cais, after setting up what is missing, and whether anything grew.
#   npm run soak [-- --hundredth]
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh demo conformance
exec node test/conformance/soak-main.mjs "$@"
