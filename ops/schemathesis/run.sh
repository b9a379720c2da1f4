#!/usr/bin/env bash
# Tests the service by its own OpenAPI document, at both front doors: the
# all-in-one process, and the gateway of an installation. schemathesis makes
# requests that the document allows and requests that it forbids, and follows
# one call with another; all of its checks are on, and ours (hooks.py).
#
#   run.sh [--requests N] [--binary FILE] [--seed N]
#
# N (default 20000) is about how many requests both doors get together. Installs
# what requirements.txt names into target/schemathesis. Exit 0: nothing found.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
requests=20000
binary=$root/target/debug/hongbao
seed=$((RANDOM * 32768 + RANDOM))
while (($#)); do
    case $1 in
    --requests) requests=$2 ;;
    --binary) binary=$2 ;;
    --seed) seed=$2 ;;
    *)
        sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
    shift 2
done
binary=$(realpath "$binary")
testbed=$(dirname "$binary")/hongbao-testbed

venv=$root/target/schemathesis
[[ -x $venv/bin/st ]] || { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet -r "$here/requirements.txt"; }

work=$(mktemp -d)
dev=
stop() {
    [[ -z $dev ]] || kill "$dev" 2>/dev/null || true
    [[ ! -d $work/cluster ]] || "$testbed" stop --data "$work/cluster" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap stop EXIT

# The twelve calls, and what the other phases take whatever is asked for.
examples=$(((requests / 2 - 1000) / 12))
((examples > 10)) || examples=10

post() {
    curl --silent --fail --show-error "${@:3}" --data "$2" "$1"
}

# Tests what listens at the address; tells how many requests it took.
test_at() {
    local door=$1 token
    token=$(post "http://$door/v1/dev/token" '{"user_id":"li","role":"operator"}' | sed 's/.*"token":"\([^"]*\)".*/\1/')
    local bearer="authorization: Bearer $token"
    local id=00000000-0000-4000-8000-000000000001
    post "http://$door/v1/dev/top-up" "{\"amount_fen\":1000000000,\"id\":\"$id\"}" --header "$bearer" >/dev/null
    echo "schemathesis: $door, seed $seed"
    "$venv/bin/st" --config-file "$here/schemathesis.toml" run "http://$door/openapi.json" --url "http://$door" \
        --header "Authorization: Bearer $token" --checks all --max-examples "$examples" --seed "$seed" \
        --continue-on-failure --suppress-health-check all --generation-database none --no-color
}

cd "$work"
export SCHEMATHESIS_HOOKS=$here/hooks.py
"$binary" dev --listen 127.0.0.1:0 --data "$work/data" >"$work/dev" 2>"$work/dev.log" &
dev=$!
for _ in $(seq 300); do
    grep -q listening "$work/dev" && break
    sleep 0.1
done
failed=0
test_at "$(sed -n 's|listening on http://||p' "$work/dev")" || failed=1

"$testbed" start --data "$work/cluster" --sets 2 --port 18600 --gateway 127.0.0.1:18699 \
    --binary "$binary" --until $$ >"$work/cluster.log" 2>&1 || { cat "$work/cluster.log" >&2 && exit 1; }
test_at 127.0.0.1:18699 || failed=1
exit $failed
