#!/usr/bin/env bash
# fuzz.sh TARGET [SECONDS]: feeds one parser of foreign bytes (fuzz/fuzz_targets) what cargo-fuzz makes of the seeds in
# fuzz/corpus, which it leaves as they are; what it finds is left in fuzz/artifacts/TARGET.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../fuzz"
target=$1
found=$(mktemp -d)
trap 'rm -r "$found"' EXIT
features=()
case "$target" in
spec | checkpoint)
    # Of the driver and of the network, which take minutes to build with a sanitizer; what reads has no unsafe code.
    features=(--features "$target" --sanitizer none)
    ;;
esac
# What cargo-fuzz asks of the compiler is not stable yet; this lets the stable one have it.
RUSTC_BOOTSTRAP=1 cargo fuzz run -O "${features[@]}" "$target" "$found" "corpus/$target" -- \
    -max_total_time="${2:-600}" -rss_limit_mb=4096 -timeout=20 -print_final_stats=1
