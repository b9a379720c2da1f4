#!/usr/bin/env bash
# The real servers that Hongbao stands on, as private instances on loopback:
# own data folder, own port, nothing shared with a system service.
#
#   parts.sh install                        installs from Debian's packages what is missing
#   parts.sh mariadb   DIR PORT [OPTION...] makes DIR if it is new, then becomes mariadbd
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

run_mariadb() {
    local dir=$1 port=$2
    shift 2
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
    # Full durability: what a client was told to be committed is on the disk.
    exec mariadbd --no-defaults --datadir="$dir/data" --user="$(id -un)" \
        --bind-address=127.0.0.1 --port="$port" --socket="$dir/mysqld.sock" --pid-file="$dir/mysqld.pid" \
        --skip-name-resolve --init-file="$dir/init.sql" \
        --innodb-flush-log-at-trx-commit=1 --innodb-log-file-size=64M --innodb-buffer-pool-size=256M \
        --character-set-server=utf8mb4 --collation-server=utf8mb4_bin \
        --max-connections=500 --table-open-cache=4000 "$@"
}

case "${1:-}" in
install) install_missing ;;
mariadb) shift && run_mariadb "$@" ;;
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
    sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
