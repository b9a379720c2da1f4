#!/usr/bin/env bash
# Installs what makes and checks clients from the OpenAPI document into target/clients: from PyPI a generator for
# Python, and Node.js; from npm redocly's lint, and a generator and compiler for TypeScript. All is pinned, with what
# it needs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
venv=$here/../../target/clients
wanted=$(cat "$here/requirements.txt" "$here/package-lock.json")
[ "$wanted" = "$(cat "$venv/installed" 2>/dev/null)" ] && exit
python3 -m venv --clear "$venv"
"$venv/bin/pip" install --quiet -r "$here/requirements.txt"
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$venv"
(cd "$venv" && PATH=$venv/bin:$PATH bin/npm ci --silent)
echo "$wanted" >"$venv/installed"
