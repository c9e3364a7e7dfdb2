#!/usr/bin/env bash
# fuzz.sh TARGET [SECONDS]: fuzzes one parser of foreign bytes (fuzz/fuzz_targets) with mutations of the seeds in
# fuzz/corpus, which stay unchanged. Findings are in fuzz/artifacts/TARGET.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../fuzz"
target=$1
found=$(mktemp -d)
trap 'rm -r "$found"' EXIT
features=()
case "$target" in
spec | checkpoint)
    # The driver and the network take minutes to build with a sanitizer, and their parsers have no unsafe code.
    features=(--features "$target" --sanitizer none)
    ;;
esac
# cargo-fuzz uses unstable flags of the compiler. This allows them on the stable one.
RUSTC_BOOTSTRAP=1 cargo fuzz run -O "${features[@]}" "$target" "$found" "corpus/$target" -- \
    -max_total_time="${2:-600}" -rss_limit_mb=4096 -timeout=20 -print_final_stats=1
