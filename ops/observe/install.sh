#!/usr/bin/env bash
# Puts into target/prometheus what reads our metrics: Prometheus and promtool from Debian's package `prometheus`,
# which is unpacked and not installed, so that no service of this machine is set up or started; and the libraries
# of requirements.txt from PyPI.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
to=$here/../../target/prometheus
mkdir -p "$to"
# Of two that run at the same time the second one waits, and finds everything.
exec 9>"$to/lock"
flock 9

if [ ! -x "$to/promtool" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    if ! apt-get download -qq prometheus 2>/dev/null; then
        sudo=()
        [ "$(id -u)" -eq 0 ] || sudo=(sudo)
        "${sudo[@]}" apt-get update -qq
        apt-get download -qq prometheus
    fi
    dpkg-deb --extract prometheus_*.deb .
    mv usr/bin/prometheus usr/bin/promtool "$to"
fi
if ! cmp -s "$here/requirements.txt" "$to/installed.txt"; then
    python3 -m venv --clear "$to/python"
    "$to/python/bin/pip" install --quiet -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$to/installed.txt"
fi
