#!/usr/bin/env bash
# The real servers that Hongbao stands on, as private instances on loopback:
# own data folder, own port, nothing shared with a system service.
#
#   parts.sh install                        installs from Debian's packages what is missing
#   parts.sh mariadb   DIR PORT [OPTION...] makes DIR if it is new, then becomes mariadbd
#   parts.sh galera    DIR PORT PEERS [OPTION...]  becomes a node of a Galera cluster
#   parts.sh galera-place DIR               tells how far such a node has come, when it does not run
#   parts.sh galera-status DIR NAME         tells a value of its SHOW STATUS, when it runs
#   parts.sh memcached PORT [OPTION...]     becomes memcached
#   parts.sh redis     DIR PORT [OPTION...] becomes redis-server
#   parts.sh haproxy   FILE                 becomes haproxy with this configuration
#
# "Becomes" means exec: the process that was started is the server, to be
# killed by its id. MariaDB has a user `hongbao`, password `hongbao`, who may
# do anything to databases whose names begin with `db_` or `wallet_`, and a
# `root` without a password; its socket is DIR/mysqld.sock.
set -euo pipefail

# Where fresh MariaDB folders are copied from: making one takes seconds.
cache=$(cd "$(dirname "$0")/.." && pwd)/target/parts

install_missing() {
    local missing=()
    command -v mariadbd >/dev/null || missing+=(mariadb-server)
    command -v memcached >/dev/null || missing+=(memcached)
    command -v redis-server >/dev/null || missing+=(redis-server)
    command -v haproxy >/dev/null || missing+=(haproxy)
    command -v faketime >/dev/null || missing+=(faketime)
    command -v python3 >/dev/null || missing+=(python3)
    [ -e /usr/lib/galera/libgalera_smm.so ] || missing+=(galera-4)
    [ ${#missing[@]} -eq 0 ] && return
    echo "installing from Debian's packages: ${missing[*]}" >&2
    local sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    # A container's policy or this variable keeps packages from starting services of their own.
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# A fresh data folder of this version of MariaDB.
mariadb_template() {
    local template
    template="$cache/mariadb-$(mariadbd --version | sed 's/.*Ver \([0-9.]*\).*/\1/')"
    mkdir -p "$cache"
    (
        flock 9
        [ -d "$template" ] && exit
        rm -rf "$template.new"
        mkdir "$template.new"
        mariadb-install-db --no-defaults --datadir="$template.new" --user="$(id -un)" \
            --auth-root-authentication-method=normal --skip-test-db --skip-name-resolve \
            --innodb-log-file-size=64M >"$cache/mariadb-install.log" 2>&1
        mv "$template.new" "$template"
    ) 9>"$cache/lock"
    echo "$template"
}

# Makes the folder of a database if it is new, and the users.
prepare_mariadb() {
    local dir=$1
    if [ ! -d "$dir/data" ]; then
        local template
        template=$(mariadb_template)
        mkdir -p "$dir"
        cp -a "$template" "$dir/data.new"
        mv "$dir/data.new" "$dir/data"
    fi
    cat >"$dir/init.sql" <<-SQL
	CREATE USER IF NOT EXISTS hongbao@'127.0.0.1' IDENTIFIED BY 'hongbao';
	CREATE USER IF NOT EXISTS hongbao@localhost IDENTIFIED BY 'hongbao';
	GRANT ALL ON \`db\\_%\`.* TO hongbao@'127.0.0.1';
	GRANT ALL ON \`db\\_%\`.* TO hongbao@localhost;
	GRANT ALL ON \`wallet\\_%\`.* TO hongbao@'127.0.0.1';
	GRANT ALL ON \`wallet\\_%\`.* TO hongbao@localhost;
	SQL
}

# The options of every mariadbd here, one a line. Full durability: what a client
# was told to be committed is on the disk.
mariadb_options() {
    local dir=$1 port=$2
    cat <<-OPTIONS
	--datadir=$dir/data
	--bind-address=127.0.0.1
	--port=$port
	--socket=$dir/mysqld.sock
	--pid-file=$dir/mysqld.pid
	--skip-name-resolve
	--init-file=$dir/init.sql
	--innodb-flush-log-at-trx-commit=1
	--innodb-log-file-size=64M
	--innodb-buffer-pool-size=256M
	--character-set-server=utf8mb4
	--collation-server=utf8mb4_bin
	--max-connections=500
	--table-open-cache=4000
	OPTIONS
}

run_mariadb() {
    local dir=$1 port=$2 options
    shift 2
    prepare_mariadb "$dir"
    mapfile -t options < <(mariadb_options "$dir" "$port")
    # Where files may not grow (prlimit --fsize), that is an error as of a full disk, and not the end.
    trap '' XFSZ
    exec mariadbd --no-defaults --user="$(id -un)" "${options[@]}" "$@"
}

# What all nodes of a Galera cluster have in common.
galera_options=(--wsrep-on=ON --wsrep-provider=/usr/lib/galera/libgalera_smm.so --wsrep-cluster-name=hongbao
    --binlog-format=ROW --innodb-autoinc-lock-mode=2 --wsrep-sst-method=rsync --log-bin-trust-function-creators=1)

# Prepares a node of a Galera cluster; `as` becomes the command that runs it.
prepare_galera() {
    local dir=$1
    prepare_mariadb "$dir"
    # Users are made on each node by itself, before it is part of the cluster.
    sed -i '1i SET SESSION wsrep_on = OFF;' "$dir/init.sql"
    as=()
    # rsync refuses to receive a node's data as root.
    if [ "$(id -u)" -eq 0 ]; then
        chown -R mysql:mysql "$dir"
        as=(setpriv --reuid=mysql --regid=mysql --clear-groups --pdeathsig keep)
    fi
}

# A node's place in its cluster's history, as UUID:NUMBER. After a crash it is
# found in the tables; nothing if it is not known there either.
galera_place() {
    local dir=$1 uuid seqno
    [ -e "$dir/data/grastate.dat" ] || return 0
    uuid=$(sed -n 's/^uuid: *//p' "$dir/data/grastate.dat")
    seqno=$(sed -n 's/^seqno: *//p' "$dir/data/grastate.dat")
    if [ "$seqno" != -1 ]; then
        echo "$uuid:$seqno"
        return
    fi
    "${as[@]}" mariadbd --no-defaults --datadir="$dir/data" --socket="$dir/recover.sock" --pid-file="$dir/recover.pid" \
        --skip-networking --innodb-log-file-size=64M "${galera_options[@]}" --wsrep-cluster-address=gcomm:// \
        --wsrep-recover 2>&1 | sed -n 's/.*WSREP: Recovered position: *//p' | tail -n 1 || true
}

# PORT is that of the clients; the cluster talks on PORT+1, and what a node has
# missed comes on PORT+2 and PORT+3. PEERS are the PORT+1 of all nodes, with
# commas. The node that a cluster begins with also gets --wsrep-new-cluster.
run_galera() {
    local dir=$1 port=$2 peers=$3 options as place
    shift 3
    prepare_galera "$dir"
    # A node that knows its place is sent what it missed, and not everything.
    place=$(galera_place "$dir")
    if [[ " $* " == *" --wsrep-new-cluster "* ]] && [ -n "$place" ]; then
        sed -i 's/^safe_to_bootstrap:.*/safe_to_bootstrap: 1/' "$dir/data/grastate.dat"
    fi
    mapfile -t options < <(mariadb_options "$dir" "$port")
    [ -z "$place" ] || options+=("--wsrep-start-position=$place")
    # A node that is silent for two seconds is taken for dead, and the others go on without it.
    local provider="gmcast.listen_addr=tcp://127.0.0.1:$((port + 1));ist.recv_addr=127.0.0.1:$((port + 2))"
    provider+=";gcache.size=64M;evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT6S"
    exec "${as[@]}" mariadbd --no-defaults "${options[@]}" \
        "${galera_options[@]}" --wsrep-cluster-address="gcomm://$peers" --wsrep-provider-options="$provider" \
        --wsrep-node-address=127.0.0.1 --wsrep-node-incoming-address="127.0.0.1:$port" \
        --wsrep-sst-receive-address="127.0.0.1:$((port + 3))" "$@"
}

# How far a node that does not run has come; -1 if nobody knows.
print_galera_place() {
    local as place
    prepare_galera "$1"
    place=$(galera_place "$1")
    place=${place##*:}
    echo "${place:--1}"
}

# What a node says about itself.
print_galera_status() {
    mariadb --no-defaults --user=root --socket="$1/mysqld.sock" --connect-timeout=2 --batch --skip-column-names \
        --execute="SHOW STATUS LIKE '$2'" 2>/dev/null | cut -f 2
}

case "${1:-}" in
install) install_missing ;;
mariadb) shift && run_mariadb "$@" ;;
galera) shift && run_galera "$@" ;;
galera-place) print_galera_place "$2" ;;
galera-status) print_galera_status "$2" "$3" ;;
memcached)
    port=$2
    shift 2
    exec memcached -u "$(id -un)" -l 127.0.0.1 -p "$port" -U 0 -m 64 -c 1024 "$@"
    ;;
redis)
    dir=$2 port=$3
    shift 3
    mkdir -p "$dir"
    # A cache: nothing of it is worth a disk.
    exec redis-server --bind 127.0.0.1 --port "$port" --dir "$dir" --save '' --appendonly no \
        --maxmemory 128mb --maxmemory-policy allkeys-lru "$@"
    ;;
haproxy) exec haproxy -db -f "$2" ;;
*)
    sed -n '2,16s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
