#!/usr/bin/env bash
# Makes clients from the OpenAPI document of a service, as their developers would, and lets them send, grab and open.
#
#   run.sh lint FILE_OR_URL...   redocly's lint of documents
#   run.sh python URL            a client in Python of the service at URL (http://127.0.0.1:8080), which is for
#   run.sh typescript URL        development and has a wallet to spend; and one in TypeScript, type-checked
#   run.sh all URL               all three
#
# ops/clients/install.sh installs what it needs into target/clients. Exit 0: all is well.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=$root/target/clients
export PATH=$tools/bin:$tools/node_modules/.bin:$PATH REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true
# Beside what is installed, where Node.js looks for it.
work=$(mktemp -d "$tools/run.XXXXXX")
trap 'rm -rf "$work"' EXIT

lint() {
    redocly lint --config "$here/redocly.yaml" --format stylish "$@"
}

python_client() {
    openapi-python-client generate --url "$1/openapi.json" --config "$here/python.yaml" --meta none \
        --fail-on-warning --output-path "$work/hongbao_client"
    cp "$root/examples/generated_client.py" "$work/client.py"
    (cd "$work" && "$tools/bin/python" client.py "$1")
}

typescript_client() {
    curl --silent --fail --show-error "$1/openapi.json" --output "$work/openapi.json"
    (cd "$work" && openapi-typescript openapi.json --output hongbao.ts)
    cp "$root/examples/generated_client.ts" "$work/client.ts"
    cp "$here/tsconfig.json" "$here/package.json" "$work"
    (cd "$work" && tsc && node client.ts "$1")
}

case ${1-} in
lint) lint "${@:2}" ;;
python) python_client "$2" ;;
typescript) typescript_client "$2" ;;
all) lint "$2/openapi.json" && python_client "$2" && typescript_client "$2" ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
