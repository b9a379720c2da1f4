#!/usr/bin/env bash
# Three MariaDB nodes of one Galera cluster on loopback: the database cluster of
# a SET, to be tried out and to be tested against.
#
#   galera.sh start  [--data DIR] [--port BASE]  starts the nodes that do not run
#   galera.sh stop   [--data DIR]                ends all nodes, the first one last
#   galera.sh kill   [--data DIR] N...           ends nodes at once, as a power cut would (SIGKILL)
#   galera.sh run    [--data DIR] N...           starts nodes again, which catch up with the others
#   galera.sh status [--data DIR]                one line a node
#
# Nodes are numbered 1, 2, 3. Clients reach node N on port BASE + 10 * (N - 1);
# the nodes use the three ports behind it among themselves. BASE is 18400 at
# first and remembered afterwards. Under DIR (default ./galera-data) each node
# has a folder with its data and its log. Users and durability are those of
# parts.sh. A SET uses the cluster when its topology says
#
#   database = ["127.0.0.1:18400", "127.0.0.1:18410", "127.0.0.1:18420"]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=ops/process.sh
source "$here/process.sh"
data=./galera-data
port=

fail() {
    echo "galera: $*" >&2
    exit 1
}

usage() {
    sed -n '2,18s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# ---- nodes -----------------------------------------------------------------

dir_of() { echo "$data/node$1"; }

port_of() { echo $((port + 10 * ($1 - 1))); }

# Where the nodes find one another.
peers() {
    echo "127.0.0.1:$((port + 1)),127.0.0.1:$((port + 11)),127.0.0.1:$((port + 21))"
}

# The id of a node's process; nothing if it does not run.
pid_of() { pid_in "$data/node$1.pid"; }

# What a node says about itself, a value of `SHOW STATUS`.
says() {
    "$here/parts.sh" galera-status "$(dir_of "$1")" "$2"
}

run_node() {
    local number=$1
    shift
    [ -z "$(pid_of "$number")" ] || fail "node $number runs already"
    mkdir -p "$(dir_of "$number")"
    setsid "$here/parts.sh" galera "$(dir_of "$number")" "$(port_of "$number")" "$(peers)" "$@" \
        >>"$(dir_of "$number")/log" 2>&1 </dev/null &
    remember "$data/node$number.pid" $!
}

wait_until_synced() {
    local number=$1 tries=600
    until [ "$(says "$number" wsrep_local_state_comment)" = Synced ]; do
        [ -n "$(pid_of "$number")" ] || fail "node $number has ended: $(tail -n 5 "$(dir_of "$number")/log")"
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "node $number is not part of the cluster; see $(dir_of "$number")/log"
        sleep 0.1
    done
}

end_node() {
    local number=$1 tries=600 pid
    pid=$(pid_of "$number")
    [ -n "$pid" ] || return 0
    # One that is stopped (SIGSTOP) must go on to hear that it should end.
    kill -CONT "$pid"
    kill -TERM "$pid"
    while [ -n "$(pid_of "$number")" ] && [ $tries -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.05
    done
    [ -z "$(pid_of "$number")" ] || kill -KILL "$pid"
}

# The node to begin with when none runs: the one that has come furthest, for what
# the others lack of its commits they get from it, and not the other way round.
most_advanced() {
    local number place best=1 best_place=-2
    for number in 1 2 3; do
        place=$("$here/parts.sh" galera-place "$(dir_of "$number")")
        if [ "$place" -gt "$best_place" ]; then
            best=$number best_place=$place
        fi
    done
    echo "$best"
}

# ---- commands --------------------------------------------------------------

start() {
    local number first
    "$here/parts.sh" install
    if [ -z "$(pid_of 1)$(pid_of 2)$(pid_of 3)" ]; then
        first=$(most_advanced)
        run_node "$first" --wsrep-new-cluster
        wait_until_synced "$first"
    fi
    for number in 1 2 3; do
        [ -n "$(pid_of "$number")" ] || run_node "$number"
    done
    for number in 1 2 3; do wait_until_synced "$number"; done
    echo "nodes on 127.0.0.1:$(port_of 1), 127.0.0.1:$(port_of 2), 127.0.0.1:$(port_of 3), data and logs in $data"
}

status() {
    local number pid
    for number in 1 2 3; do
        pid=$(pid_of "$number")
        if [ -z "$pid" ]; then
            echo "node $number  not running"
        else
            echo "node $number  127.0.0.1:$(port_of "$number")  process $pid," \
                "$(says "$number" wsrep_local_state_comment || true)," \
                "$(says "$number" wsrep_cluster_size || true) in the cluster"
        fi
    done
}

command=${1:-}
[ -n "$command" ] && shift
while [ $# -gt 0 ]; do
    case "$1" in
    --data) data=$2 && shift 2 ;;
    --port) port=$2 && shift 2 ;;
    *) break ;;
    esac
done
for number in "$@"; do
    case "$number" in 1 | 2 | 3) ;; *) fail "there is no node $number" ;; esac
done
case "$command" in start | stop | kill | run | status) ;; *) usage ;; esac
[ "$command" = start ] || [ -f "$data/port" ] || fail "no cluster has been started in $data"
mkdir -p "$data"
data=$(cd "$data" && pwd)
if [ -z "$port" ]; then port=$(cat "$data/port" 2>/dev/null || echo 18400); fi
echo "$port" >"$data/port"

case "$command" in
start) start ;;
stop) for number in 3 2 1; do end_node "$number"; done ;;
status) status ;;
kill)
    for number in "$@"; do
        pid=$(pid_of "$number")
        [ -n "$pid" ] || fail "node $number does not run"
        kill -KILL "$pid"
    done
    ;;
run)
    for number in "$@"; do run_node "$number"; done
    for number in "$@"; do wait_until_synced "$number"; done
    ;;
esac
