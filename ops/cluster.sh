#!/usr/bin/env bash
# A whole installation on this machine: SETs with a MariaDB, a Redis, servers
# with a memcached each, and workers; a wallet database; a gateway. Everything
# listens on loopback only and keeps its data under one folder.
#
#   cluster.sh start   [--data DIR] [--sets N] [--port BASE] [--gateway ADDRESS] [--binary FILE] [--watch PID] [--bare]
#                      [--via NAME=PORT]... [--option NAME=WORD]...
#   cluster.sh stop    [--data DIR]             ends everything, gateway first, databases last
#   cluster.sh status  [--data DIR]             one line a process
#   cluster.sh audit   [--data DIR] [OPTION...] hongbao audit over all SETs
#   cluster.sh run     [--data DIR] [--watch PID] NAME...  starts these processes again
#   cluster.sh kill    [--data DIR] SIGNAL NAME...
#
# Under DIR (default ./cluster-data) are the two files that the processes read,
# hongbao.toml and topology.toml, a log per process, and the databases. The
# SETs are a, b, c...; their parts are called a-mariadb, a-redis, a1, a2,
# a1-memcached, a2-memcached, a-w1, a-w2; besides there are wallet-mariadb and
# gateway. `--watch PID` kills the cluster when that process has ended; `--bare`
# leaves memcached and Redis out of the topology, to see what they cost; `--via`
# says that the others reach a database, Redis, memcached or server through
# another port, where a relay of the caller listens; `--option` adds a word to
# a part's command.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=ops/process.sh
source "$here/process.sh"
data=./cluster-data
sets=2
port=18100
gateway=127.0.0.1:8080
binary="$here/../target/release/hongbao"
watch=
bare=
declare -A via=() options=()

fail() {
    echo "cluster: $*" >&2
    exit 1
}

usage() {
    sed -n '2,24s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

set_names() {
    local letters=(a b c d e f g h i j)
    echo "${letters[@]:0:$sets}"
}

# ---- the two files ---------------------------------------------------------

random_secret() {
    head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'
}

write_settings() {
    # What everybody who reads this file may do, anybody on this machine may do: it is for trying things out.
    (umask 077 && cat >"$data/hongbao.toml") <<-TOML
	# Written by ops/cluster.sh. The dev calls make tokens and money out of nothing.
	topology = "topology.toml"
	dev_calls = true

	[auth]
	hs256_secret = "$(random_secret)"

	[tickets]
	secret = "$(random_secret)"

	[storage]
	databases = 4
	tables = 1
	wallet_databases = 2

	[database]
	user = "hongbao"
	password = "hongbao"

	[limits]
	expires_in_s_min = 1

	[rate_limit]
	user_per_s = 10000
	user_burst = 10000
	TOML
}

write_topology() {
    local index=0 base
    {
        echo "# Written by ops/cluster.sh."
        echo "version = 1"
        for set in $(set_names); do
            base=$((port + 10 * index))
            cat <<-TOML

			[[sets]]
			name = "$set"
			slots = "$(printf %02d $index)-99/$sets"
			database = ["127.0.0.1:$base"]
			cache = "redis://127.0.0.1:$((base + 1))"
			servers = [
			    { name = "${set}1", address = "127.0.0.1:$((base + 2))", memcached = "127.0.0.1:$((base + 3))" },
			    { name = "${set}2", address = "127.0.0.1:$((base + 4))", memcached = "127.0.0.1:$((base + 5))" },
			]
			workers = [
			    { name = "$set-w1", address = "127.0.0.1:$((base + 6))" },
			    { name = "$set-w2", address = "127.0.0.1:$((base + 7))" },
			]
			TOML
            index=$((index + 1))
        done
        cat <<-TOML

		[[wallets]]
		name = "wallet"
		slots = "00-99"
		database = ["127.0.0.1:$((port + 10 * index))"]

		[[gateways]]
		name = "gateway"
		address = "$gateway"
		TOML
    } >"$data/topology.toml"
    if [ -n "$bare" ]; then
        sed -i -e '/^cache = /d' -e 's/, memcached = "[^"]*"//' "$data/topology.toml"
    fi
}

# Puts relays before their parts. Where a server is reached concerns gateways
# alone, and it listens at its own port: gateways then read a file of their own.
relay_links() {
    local name own
    rm -f "$gateway_topology"
    for name in "${!via[@]}"; do
        own=$(line_of "$name" | awk '{ print $2 }')
        [ -n "$own" ] || fail "--via: there is no process $name"
        case "$name" in
        ?[12])
            # Made by the first of them.
            [ -f "$gateway_topology" ] || cp "$data/topology.toml" "$gateway_topology"
            sed -i "s/address = \"127.0.0.1:$own\"/address = \"127.0.0.1:${via[$name]}\"/" "$gateway_topology"
            ;;
        *) sed -i "s/127.0.0.1:$own\"/127.0.0.1:${via[$name]}\"/" "$data/topology.toml" ;;
        esac
    done
}

# The commands of all processes, a line each: NAME PORT COMMAND. This is the
# cluster as it was started, for `run`, `stop` and `status`.
write_processes() {
    local index=0 base set line config="$data/hongbao.toml"
    {
        for set in $(set_names); do
            base=$((port + 10 * index))
            echo "$set-mariadb $base $here/parts.sh mariadb $data/$set-mariadb $base"
            index=$((index + 1))
        done
        base=$((port + 10 * index))
        echo "wallet-mariadb $base $here/parts.sh mariadb $data/wallet-mariadb $base"
        index=0
        for set in $(set_names); do
            base=$((port + 10 * index))
            echo "$set-redis $((base + 1)) $here/parts.sh redis $data/$set-redis $((base + 1))"
            echo "${set}1-memcached $((base + 3)) $here/parts.sh memcached $((base + 3))"
            echo "${set}2-memcached $((base + 5)) $here/parts.sh memcached $((base + 5))"
            index=$((index + 1))
        done
        index=0
        for set in $(set_names); do
            base=$((port + 10 * index))
            echo "${set}1 $((base + 2)) $binary server --config $config --name ${set}1"
            echo "${set}2 $((base + 4)) $binary server --config $config --name ${set}2"
            echo "$set-w1 $((base + 6)) $binary worker --config $config --name $set-w1"
            echo "$set-w2 $((base + 7)) $binary worker --config $config --name $set-w2"
            index=$((index + 1))
        done
        echo "gateway ${gateway##*:} $(gateway_environment)$binary gateway --config $config --name gateway"
    } | while read -r line; do
        echo "$line${options[${line%% *}]:-}"
    done >"$data/processes"
}

gateway_environment() {
    local name
    for name in "${!via[@]}"; do
        case "$name" in ?[12]) echo "env HONGBAO_TOPOLOGY=$gateway_topology " && return ;; esac
    done
}

# ---- processes -------------------------------------------------------------

names() {
    awk '{ print $1 }' "$data/processes"
}

line_of() {
    awk -v name="$1" '$1 == name' "$data/processes"
}

# The id of a process of ours that runs; nothing if it does not.
pid_of() {
    pid_in "$data/run/$1.pid"
}

is_open() {
    (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

run_one() {
    local name=$1 line address command tries=50
    line=$(line_of "$name")
    [ -n "$line" ] || fail "there is no process $name"
    [ -z "$(pid_of "$name")" ] || fail "$name runs already"
    read -r _ address command <<<"$line"
    # Ours would end, unable to listen, and somebody else's answer would be taken for its.
    # One of ours that was killed may need a moment until all of it is gone.
    while is_open "$address"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "$name needs port $address, on which something listens already; see --port, --gateway"
        sleep 0.1
    done
    # shellcheck disable=SC2086 # the words of the command are meant to be split
    setsid $command >>"$data/log/$name.log" 2>&1 </dev/null &
    remember "$data/run/$name.pid" $!
}

wait_until_open() {
    local name=$1 address tries=600
    address=$(line_of "$name" | awk '{ print $2 }')
    while ! is_open "$address"; do
        [ -n "$(pid_of "$name")" ] || fail "$name has ended: $(tail -n 5 "$data/log/$name.log")"
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "$name does not listen on port $address; see $data/log/$name.log"
        sleep 0.1
    done
    [ -n "$(pid_of "$name")" ] || fail "port $address is open, but $name has ended: $(tail -n 5 "$data/log/$name.log")"
}

run_and_wait() {
    local name
    for name in "$@"; do run_one "$name"; done
    for name in "$@"; do wait_until_open "$name"; done
}

# Sends a signal to those that run, and waits until they are gone.
end_all() {
    local signal=$1 name pid tries
    shift
    for name in "$@"; do
        pid=$(pid_of "$name")
        [ -z "$pid" ] || kill "-$signal" "$pid" 2>/dev/null || true
    done
    for name in "$@"; do
        tries=400
        while [ -n "$(pid_of "$name")" ] && [ $tries -gt 0 ]; do
            tries=$((tries - 1))
            sleep 0.05
        done
        pid=$(pid_of "$name")
        [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
        rm -f "$data/run/$name.pid"
    done
}

matching() {
    names | grep -E -- "$1" || true
}

# ---- commands --------------------------------------------------------------

# What a cluster that runs was started with must stay what its files say.
refuse_if_running() {
    local name
    [ -f "$data/processes" ] || return 0
    for name in $(names); do
        [ -z "$(pid_of "$name")" ] || fail "$name runs already in $data: cluster.sh stop first"
    done
}

start() {
    [ -x "$binary" ] || fail "$binary does not exist: cargo build --release -p hongbao"
    refuse_if_running
    "$here/parts.sh" install
    mkdir -p "$data/run" "$data/log"
    if [ ! -f "$data/hongbao.toml" ]; then write_settings; fi
    write_topology
    write_processes
    relay_links
    if [ -n "$watch" ]; then
        # Its own session, so that it outlives whoever called us, and nothing of his is held open.
        setsid "$0" watch --data "$data" --watch "$watch" >/dev/null 2>&1 </dev/null &
    fi
    # shellcheck disable=SC2046 # one word a name
    run_and_wait $(matching 'mariadb$') $(matching 'redis$|memcached$')
    "$binary" migrate --config "$data/hongbao.toml" >>"$data/log/migrate.log" 2>&1 ||
        fail "migrate: $(tail -n 5 "$data/log/migrate.log")"
    # shellcheck disable=SC2046
    run_and_wait $(matching '^.[12]$') $(matching 'w[12]$') gateway
    echo "gateway on http://$gateway, data and logs in $data"
}

stop() {
    [ -f "$data/processes" ] || fail "no cluster has been started in $data"
    # A process that is stopped (SIGSTOP) must go on to hear that it should end.
    local name pid
    for name in $(names); do
        pid=$(pid_of "$name")
        [ -z "$pid" ] || kill -CONT "$pid" 2>/dev/null || true
    done
    # shellcheck disable=SC2046
    {
        end_all TERM gateway
        end_all TERM $(matching '^.[12]$') $(matching 'w[12]$')
        end_all TERM $(matching 'redis$|memcached$')
        end_all TERM $(matching 'mariadb$')
    }
}

status() {
    local name pid
    for name in $(names); do
        pid=$(pid_of "$name")
        printf '%-16s %s\n' "$name" "${pid:-not running}"
    done
}

# Whether the caller that we were told of still runs.
is_watched() {
    [ -n "$watch_started" ] && [ "$(started_at "$watch")" = "$watch_started" ]
}

# For a caller that is gone, nothing is worth waiting for: what was committed is on the disk.
end_at_once() {
    # shellcheck disable=SC2046 # one word a name
    end_all KILL $(names)
}

watch_over() {
    while is_watched; do sleep 0.5; done
    end_at_once
}

command=${1:-}
[ -n "$command" ] && shift
while [ $# -gt 0 ]; do
    case "$1" in
    --data) data=$2 && shift 2 ;;
    --sets) sets=$2 && shift 2 ;;
    --port) port=$2 && shift 2 ;;
    --gateway) gateway=$2 && shift 2 ;;
    --binary) binary=$2 && shift 2 ;;
    --watch) watch=$2 && shift 2 ;;
    --bare) bare=yes && shift ;;
    --via) via[${2%%=*}]=${2#*=} && shift 2 ;;
    --option) options[${2%%=*}]+=" ${2#*=}" && shift 2 ;;
    *) break ;;
    esac
done
mkdir -p "$data"
data=$(cd "$data" && pwd)
binary=$(realpath -m "$binary")
gateway_topology="$data/topology-gateway.toml"
if [ -n "$watch" ]; then
    watch_started=$(started_at "$watch")
    # The watch may have ended all before we have started our last process.
    case "$command" in start | run) trap 'is_watched || end_at_once' EXIT ;; esac
fi
case "$sets" in 1 | 2 | 4) ;; *) fail "a cluster has 1, 2 or 4 SETs, not $sets" ;; esac

case "$command" in
start) start ;;
stop) stop ;;
status) status ;;
audit) exec "$binary" audit --config "$data/hongbao.toml" "$@" ;;
run) run_and_wait "$@" ;;
kill)
    [ $# -ge 2 ] || usage
    signal=$1 && shift
    for name in "$@"; do
        pid=$(pid_of "$name")
        [ -n "$pid" ] || fail "$name does not run"
        kill "-$signal" "$pid"
    done
    ;;
watch) watch_over ;;
*) usage ;;
esac
