#!/usr/bin/env bash
# Audits, makes a backup and audits that, while the service serves; for cron or a timer.
# Exit 0: all holds. 1: something is broken, and was named. 2: it could not be checked.
#
#   examples/nightly.sh DATA BACKUPS    # DATA is the folder of `hongbao dev`; BACKUPS is made if need be
#
# An installation has --config FILE instead of --data DATA for both commands, and its backup is
# restored into databases of its own before it is audited (ops/README.md, "Backups").
set -euo pipefail

hongbao=${HONGBAO:-hongbao}
data=$1
backups=$2
kept=${KEEP:-7}

# What is broken is named on the standard output: an audit's exit code is ours.
"$hongbao" audit --data "$data"

mkdir -p "$backups"
copy=$backups/$(date --utc +%Y%m%dT%H%M%SZ)
"$hongbao" backup --data "$data" --to "$copy"
"$hongbao" audit --data "$copy"

# Older ones go only now that a newer one is known to be good.
find "$backups" -mindepth 1 -maxdepth 1 -type d -name '*T*Z' | sort | head --lines="-$kept" | xargs --no-run-if-empty rm -r
