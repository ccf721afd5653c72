#!/bin/sh
# Builds a Lambda layer with spancost in it: sh build_layer.sh OUT.zip [pip's arguments]
#
#     sh build_layer.sh layer.zip
#     sh build_layer.sh layer.zip --python-version 3.13 --platform manylinux2014_aarch64 --only-binary=:all:
#
# The second is for another Python or processor than the one it is run with.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target "$work/python" -r "$here/requirements.txt" "$@"
# Lambda has these already; what was compiled while installing is of no use there.
rm -rf "$work/python/bin"
find "$work/python" -name __pycache__ -type d -prune -exec rm -rf {} +
cp "$here/spancost-wrapper" "$work/spancost-wrapper"
chmod -R go+rX "$work"
chmod 755 "$work/spancost-wrapper"
# Python's own zip keeps the wrapper executable.
(cd "$work" && "${PYTHON:-python3}" -m zipfile -c layer.zip python spancost-wrapper)
mv "$work/layer.zip" "$out"
