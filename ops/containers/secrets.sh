#!/usr/bin/env bash
# Makes the secrets of compose.yaml and of the Kubernetes manifests, once: ops/containers/secrets, or the folder
# that is given. Files that are there stay as they are.
set -euo pipefail

folder=${1:-$(cd "$(dirname "$0")" && pwd)/secrets}
random() { od -An -tx1 -N32 /dev/urandom | tr -d ' \n'; }
mkdir -p -m 700 "$folder"
if [ -e "$folder/hongbao.env" ]; then
    echo "$folder/hongbao.env is there already" >&2
    exit
fi
# The database in its container reads its two as a user of its own: the folder keeps others out.
random >"$folder/mariadb-root-password"
random >"$folder/mariadb-password"
touch "$folder/hongbao.env"
chmod 600 "$folder/hongbao.env"
cat >"$folder/hongbao.env" <<EOF
HONGBAO_AUTH__HS256_SECRET=$(random)
HONGBAO_TICKETS__SECRET=$(random)
HONGBAO_DATABASE__PASSWORD=$(cat "$folder/mariadb-password")
EOF
