#!/usr/bin/env bash
# Sends an envelope to the group "family", grabs and opens it, and shows the balance.
#
#   make run             # in another terminal: the service, with development calls
#   examples/client.sh   # HONGBAO_URL=http://127.0.0.1:8081 for another address
set -euo pipefail

url=${HONGBAO_URL:-http://127.0.0.1:8080}
answer=$(mktemp -d)
trap 'rm -r "$answer"' EXIT

# call TOKEN METHOD PATH [BODY]: prints the answer. Every call may be repeated, so what had
# no answer, or a problem that says "retryable", is repeated, not before its Retry-After.
call() {
    local request=(--silent --max-time 10 --dump-header "$answer/head" --output "$answer/body" --write-out '%{http_code}'
        --request "$2" --header "Authorization: Bearer $1")
    [ -z "${4:-}" ] || request+=(--data "$4")
    local try status wait
    for try in 1 2 3 4 5 6 7 8; do
        : >"$answer/head"
        : >"$answer/body"
        status=$(curl "${request[@]}" "$url$3") || status=none
        case $status in 2*) cat "$answer/body" && return ;; esac
        [ "$status" = none ] || grep -q '"retryable":true' "$answer/body" || break
        wait=$(sed -n 's/^retry-after: *\([0-9]*\).*/\1/Ip' "$answer/head")
        sleep "${wait:-$((try - 1)).$((RANDOM % 10))}"
    done
    echo "$2 $3 failed after $try attempts: $status $(cat "$answer/body")" >&2
    return 1
}

# field NAME: a field of the answer on the standard input.
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }

# token USER: development services alone give tokens away.
token() { call none POST /v1/dev/token "{\"user_id\":\"$1\",\"groups\":[\"family\"]}" | field token; }

li=$(token li)
wang=$(token wang)
call "$li" POST /v1/dev/top-up "{\"amount_fen\":10000,\"id\":\"$(cat /proc/sys/kernel/random/uuid)\"}" >/dev/null

made=$(call "$li" POST /v1/envelopes '{"kind":"lucky","total_fen":8888,"shares":3,"audience":{"type":"group","id":"family"}}')
envelope=$(sed 's/.*"id":"\([0-9a-f]\{8\}-[^"]*\)".*/\1/' <<<"$made")
call "$li" POST "/v1/envelopes/$envelope/pay" >/dev/null

ticket=$(call "$wang" POST "/v1/envelopes/$envelope/grab" | field ticket)
opened=$(call "$wang" POST "/v1/envelopes/$envelope/open" "{\"ticket\":\"$ticket\"}" | field amount_fen)
echo "wang opened $envelope and got $opened fen"

# The share arrives in the balance within a second.
for _ in $(seq 30); do
    balance=$(call "$wang" GET /v1/wallet | field balance_fen)
    [ "$balance" -lt "$opened" ] || break
    sleep 0.2
done
echo "wang has $balance fen"
