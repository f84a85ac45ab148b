#!/usr/bin/env bash
# Cuts the power under the stores of a node, many times, and checks that nothing acknowledged is lost.
#
# A file system on a loop device that writes back only when asked (commit=300): a copy of its backing file, taken
# while the writer is stopped, holds what was synced and little else, as a disk does after a power cut.
# Needs root, loop devices and ext4. Usage: tests/powercut/run.sh [ROUNDS]
set -euo pipefail

rounds=${1:-20}
root=$(cd "$(dirname "$0")/../.." && pwd)
program=${POWERCUT_PROGRAM:-}
if [ -z "$program" ]; then
    (cd "$root" && cargo build -p belfry-server --example powercut)
    program=${CARGO_TARGET_DIR:-$root/target}/debug/examples/powercut
fi

scratch=$(mktemp -d)
writer=
cleanup() {
    if [ -n "$writer" ]; then kill -KILL "$writer" 2>/dev/null || true; fi
    umount "$scratch/live" 2>/dev/null || true
    umount "$scratch/after" 2>/dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT
mkdir "$scratch/live" "$scratch/after"

failed=0
for round in $(seq "$rounds"); do
    # Files of their own each time: a loop device that the kernel has not let go of yet would go on with those of the last round.
    rm -f "$scratch/disk" "$scratch/copy"
    truncate -s 512M "$scratch/disk"
    mkfs.ext4 -q -F "$scratch/disk"
    mount -o loop,commit=300 "$scratch/disk" "$scratch/live"
    what=both
    if [ $((round % 2)) -eq 0 ]; then what=state; fi
    "$program" write "$scratch/live/node" "$what" >"$scratch/acknowledged" &
    writer=$!
    # A cut before anything was acknowledged would show nothing.
    until grep -q '^state ' "$scratch/acknowledged" && { [ "$what" = state ] || grep -q '^log ' "$scratch/acknowledged"; }; do
        kill -0 "$writer"
        sleep 0.05
    done
    sleep "$((RANDOM % 3 + 1)).$((RANDOM % 10))"
    kill -STOP "$writer"
    # A thread in the middle of a sync goes on until it has ended.
    while grep -qv '^State:.*T' <(cat "/proc/$writer/task/"*/status | grep '^State:'); do sleep 0.01; done
    # What was acknowledged is read before the copy: later acknowledgements cannot be asked for.
    index=$(awk '$1 == "log" { last = $2 } END { print last + 0 }' "$scratch/acknowledged")
    number=$(awk '$1 == "state" { last = $2 } END { print last + 0 }' "$scratch/acknowledged")
    cp "$scratch/disk" "$scratch/copy"
    kill -KILL "$writer"
    wait "$writer" 2>/dev/null || true
    writer=
    umount "$scratch/live"
    mount -o loop "$scratch/copy" "$scratch/after"
    if ! "$program" check "$scratch/after/node" "$index" "$number"; then
        echo "round $round: LOST" >&2
        failed=$((failed + 1))
    fi
    umount "$scratch/after"
done
echo "$((rounds - failed)) of $rounds rounds kept everything that was acknowledged"
[ "$failed" -eq 0 ]
