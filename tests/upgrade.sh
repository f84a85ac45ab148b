#!/usr/bin/env bash
# A rolling upgrade under load: three nodes of a former release become those of this one while schedules fire and clients write; the
# feature level rises on the way. Executors and clients are of this release from the beginning. Ends with an error at the first run that
# is lost or doubled, and at the first call that fails. Usage: tests/upgrade.sh COMMIT [options of the program `rolling`]
set -euo pipefail

commit=${1:?which release is it from? tests/upgrade.sh COMMIT}
shift
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'git -C "$root" worktree remove --force "$scratch/tree"; rm -rf "$scratch"' EXIT
git -C "$root" worktree add --quiet --detach "$scratch/tree" "$commit"

target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
former=$target/upgrade
(cd "$scratch/tree" && CARGO_TARGET_DIR=$former cargo build --release --locked -p belfry-cli --bin belfry)
(cd "$root" && cargo build --release --locked -p belfry-cli --bin belfry -p belfry-tests --bin rolling)
"$target/release/rolling" --from "$former/release/belfry" "$@"
