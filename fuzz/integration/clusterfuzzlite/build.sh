#!/bin/bash -eu
# The same targets as on OSS-Fuzz, from this checkout.
exec bash -eu "$SRC/fdspec/fuzz/integration/oss-fuzz/build.sh"
