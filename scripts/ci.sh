#!/usr/bin/env bash
# ci.sh STEP...: runs the project's checks by name. Without a name, it runs all checks that need no network except
# for Rust's own packages. .ci/run, the justfile and the GitHub workflow all call this file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Some tests use real data, if it is next to the checkout.
if [ -z "${ROBUSTSEG_DATA:-}" ] && [ -d ../shared/data ]; then
    ROBUSTSEG_DATA=$(realpath ../shared/data)
    export ROBUSTSEG_DATA
fi

# A CI builds everything once and debugs nothing. What the compiler keeps for the next build or a debugger costs time
# and disk.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0

# Tools that a Rust installation may lack. cargo-deny goes into a separate folder that a CI can cache. It is not
# optimised: that would take longer than all of its checks.
tools=${ROBUSTSEG_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/robustseg/tools}
export PATH=$PATH:$tools/bin

need_component() {
    cargo "$1" --version >/dev/null 2>&1 || rustup component add "$2"
}

need_deny() {
    cargo deny --version >/dev/null 2>&1 ||
        CARGO_PROFILE_DEV_DEBUG=0 cargo install --debug --locked --root "$tools" --version 0.20.2 cargo-deny
}

# Runs of several processes are tested with MPI. Where it cannot be installed, their tests skip themselves with a line.
need_mpi() {
    command -v mpirun >/dev/null && return
    local root=()
    [ "$(id -u)" = 0 ] || root=(sudo -n)
    if command -v apt-get >/dev/null; then
        "${root[@]}" apt-get update -q && "${root[@]}" apt-get install -y -q --no-install-recommends openmpi-bin
    fi >/dev/null 2>&1 || echo "ci.sh: no mpirun, and it cannot be installed: runs of several processes are not tested"
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
    need_mpi
    cargo test --workspace --locked
}

study() { # the study's script, and that the page of results shows what the records say
    python3 -B -m unittest discover tests/study
}

docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
}

gpu() { # the CUDA side on the emulated GPU, and the checks for a real GPU with programs that crash and hang
    scripts/cuda.sh test
    # Runs after the builds, which would slow its programs down beyond their time limits.
    python3 -B -m unittest discover tests/gpu_check
}

deny() { # the checks that need no database of advisories
    need_deny
    cargo deny --locked check bans licenses sources
}

advisories() { # fetches the database
    need_deny
    cargo deny --locked check advisories
}

packages() { # what each crate would publish, without building it again
    cargo fetch --locked
    cargo package --workspace --exclude robustseg-tests --no-verify --allow-dirty --locked --offline
}

smoke() { # the whole way, spec to report, with the program that the tests build
    local out
    cargo test --workspace --locked --no-run
    out=$(mktemp -d)
    "${CARGO_TARGET_DIR:-target}/debug/robustseg" run experiments/smoke.yaml --out "$out/run"
    test -s "$out/run/evaluation.json" && test -s "$out/run/report.html"
    rm -r "$out"
}

all=(format lint tests study docs packages deny smoke gpu)
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
