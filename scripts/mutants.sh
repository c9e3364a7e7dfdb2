#!/usr/bin/env bash
# mutants.sh metrics|attacks|checkpoints|resuming [ARG...]: mutates that code, one change at a time, and lists the changes
# that the crate's quick tests do not notice in mutants.out/missed.txt. It changes the files in place and restores them.
# ARGs go to cargo-mutants, for example --shard 0/4.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
what=$1
shift
tests=(--cargo-test-arg=--lib)
case "$what" in
metrics) code=(--package robustseg-metrics) ;;
attacks)
    code=(--package robustseg-attacks)
    tests+=(--cargo-test-arg=--test=properties)
    ;;
checkpoints)
    code=(--file 'crates/models/src/{checkpoint,store}.rs' --file 'crates/files/src/{sealed,durable}.rs')
    tests+=(--cargo-test-arg=--test=pspnet --cargo-test-arg=--test=pretrained)
    ;;
resuming) code=(--file crates/training/src/resume.rs) ;;
*) echo "mutants.sh: no $what; there are metrics, attacks, checkpoints and resuming" >&2 && exit 2 ;;
esac
# Incremental compilation breaks if the compiler is killed. Fewer cases per property suffice to notice a change.
export CARGO_INCREMENTAL=0 PROPTEST_CASES="${PROPTEST_CASES:-16}"
cargo mutants --in-place --timeout 300 "${code[@]}" "${tests[@]}" "$@"
