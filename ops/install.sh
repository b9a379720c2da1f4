#!/usr/bin/env bash
# Installs from Debian's packages what an installation and the tests need and is missing.
set -euo pipefail

missing=()
command -v mariadbd >/dev/null || missing+=(mariadb-server)
command -v memcached >/dev/null || missing+=(memcached)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v haproxy >/dev/null || missing+=(haproxy)
command -v faketime >/dev/null || missing+=(faketime)
[ -e "/usr/lib/$(uname -m)-linux-gnu/libnss_wrapper.so" ] || missing+=(libnss-wrapper)
command -v python3 >/dev/null || missing+=(python3)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
command -v curl >/dev/null || missing+=(curl)
command -v pgrep >/dev/null || missing+=(procps)
# Computes how exposed the units are; nothing is started by it.
command -v systemd-analyze >/dev/null || missing+=(systemd)
[ -e /usr/lib/galera/libgalera_smm.so ] || missing+=(galera-4)
[ ${#missing[@]} -gt 0 ] || exit 0
echo "installing from Debian's packages: ${missing[*]}" >&2
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
"${sudo[@]}" apt-get update -qq
# A container's policy or this variable keeps packages from starting services of their own.
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
