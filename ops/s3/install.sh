#!/usr/bin/env bash
# Installs the S3 server of the tests, moto, into target/s3: from PyPI, pinned with all that it needs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
venv=$here/../../target/s3
[[ -x $venv/bin/moto_server ]] || { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet -r "$here/requirements.txt"; }
