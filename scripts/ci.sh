#!/usr/bin/env bash
# ci.sh STEP...: the checks of the project, each step by name; without a name all that need no network but for
# Rust's own packages. .ci/run, the justfile and the GitHub workflow all call this file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Real data for the tests that use it, where it lies beside the checkout.
if [ -z "${ROBUSTSEG_DATA:-}" ] && [ -d ../shared/data ]; then
    ROBUSTSEG_DATA=$(realpath ../shared/data)
    export ROBUSTSEG_DATA
fi

# What the steps call and Rust may lack: cargo-deny goes into a folder of its own, which a CI may keep.
tools=${ROBUSTSEG_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/robustseg/tools}
export PATH=$PATH:$tools/bin

need_component() {
    cargo "$1" --version >/dev/null 2>&1 || rustup component add "$2"
}

need_deny() {
    cargo deny --version >/dev/null 2>&1 || cargo install --locked --root "$tools" --version 0.20.2 cargo-deny
}

format() {
    need_component fmt rustfmt
    cargo fmt --all --check
}

lint() {
    need_component clippy clippy
    cargo clippy --workspace --all-targets --locked -- -D warnings
}

tests() { # unit, documentation, golden, layering, end-to-end and real-data tests
    cargo test --workspace --locked
}

docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
}

gpu() { # the CUDA side, on the emulated GPU, and what checks a real one, with programs that crash and hang
    scripts/cuda.sh test
    # After the builds, which would take the time that its programs are given.
    python3 -B -m unittest discover tests/gpu_check
}

deny() { # what needs no database of advisories
    need_deny
    cargo deny --locked check bans licenses sources
}

advisories() { # fetches the database
    need_deny
    cargo deny --locked check advisories
}

smoke() { # the whole way, spec to report, in seconds
    local out
    out=$(mktemp -d)
    cargo experiment experiments/smoke.yaml --out "$out/run"
    test -s "$out/run/evaluation.json" && test -s "$out/run/report.html"
    rm -r "$out"
}

all=(format lint tests docs deny smoke gpu)
for step in "${@:-${all[@]}}"; do
    case " ${all[*]} advisories " in
    *" $step "*) ;;
    *) echo "ci.sh: no step $step; there are ${all[*]} advisories" >&2 && exit 2 ;;
    esac
    echo "== $step"
    start=$SECONDS
    "$step"
    echo "== $step: $((SECONDS - start)) s"
done
