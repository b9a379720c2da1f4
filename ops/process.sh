# Which process a script of this folder has started, for `source`. A file
# remembers its id and when it began, since ids are given again.

# When a process was started, in ticks since the machine was; nothing if it has
# ended and only waits to be noticed.
started_at() {
    awk '$3 != "Z" { print $22 }' "/proc/$1/stat" 2>/dev/null || true
}

# Writes the file of a process that was just started.
remember() {
    echo "$2 $(started_at "$2")" >"$1"
}

# The id that a file remembers; nothing if that process does not run.
pid_in() {
    local pid started
    read -r pid started 2>/dev/null <"$1" || return 0
    if [ -n "$pid" ] && [ "$(started_at "$pid")" = "$started" ]; then
        echo "$pid"
    fi
}
