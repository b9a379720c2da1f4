#!/usr/bin/env bash
# Installs the S3 server of the tests, moto, into target/s3: from PyPI, pinned with all that it needs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
venv=$here/../../target/s3
cmp -s "$here/requirements.txt" "$venv/installed.txt" && exit
python3 -m venv --clear "$venv"
"$venv/bin/pip" install --quiet -r "$here/requirements.txt"
cp "$here/requirements.txt" "$venv/installed.txt"
