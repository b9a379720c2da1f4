#!/usr/bin/env bash
# Boots the Debian in a folder: its own systemd as process 1 in namespaces of its own, with a network of its
# own that has no way out. What it does not share with this machine ends with it. `boot.sh ROOT`, as root.
set -euo pipefail

root=$(realpath "$1")
# A group of its own, which is the root of all groups that it sees. The second case, one hierarchy of groups
# for all, was not tried.
groups=/sys/fs/cgroup/systemd
kind="-t cgroup -o none,name=systemd"
at=sys/fs/cgroup/systemd
if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
    groups=/sys/fs/cgroup kind="-t cgroup2" at=sys/fs/cgroup
fi
mkdir "$groups/clean-machine-$$"
echo $$ >"$groups/clean-machine-$$/cgroup.procs"

# Run inside of the namespaces.
start() {
    hostname clean
    mount --make-rprivate /
    mount --bind "$root" "$root"
    cd "$root"
    mount -t proc proc proc
    mount -t sysfs -o ro sysfs sys
    [ "$at" = sys/fs/cgroup ] || mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
    mkdir -p "$at"
    # shellcheck disable=SC2086
    mount $kind cgroup "$at"
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs tmpfs tmp
    mount -t tmpfs -o mode=755 tmpfs dev
    for device in null zero full random urandom tty; do
        touch "dev/$device"
        mount --bind "/dev/$device" "dev/$device"
    done
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
    mount -t tmpfs tmpfs dev/shm
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    ln -s fd/0 dev/stdin
    ln -s fd/1 dev/stdout
    ln -s fd/2 dev/stderr
    ip link set lo up
    pivot_root . mnt
    umount -l /mnt
    exec env -i container=chroot PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target
}
export -f start
export root kind at
exec unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child bash -euc start
