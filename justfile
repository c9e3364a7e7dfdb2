# The project's commands; `just` lists them. All of them work without just, too: the recipes say how.

_list:
    @just --list

# Train, evaluate and report what SPEC says.
experiment SPEC *ARGS:
    cargo experiment {{SPEC}} {{ARGS}}

# All tests.
test *ARGS:
    cargo test --workspace {{ARGS}}

# The tests against PyTorch's numbers, over the cases in FOLDER.
goldens FOLDER='tests/goldens':
    ROBUSTSEG_GOLDENS={{absolute_path(FOLDER)}} cargo test --package robustseg-tests --test goldens

# The faults of docs/faults.md with real processes; a short run is killed at KILLS random moments.
test-faults KILLS='200':
    ROBUSTSEG_KILLS={{KILLS}} cargo test --package robustseg-driver --test faults -- --nocapture

# Line coverage of the crates that count, attack, read and train; needs `cargo install cargo-llvm-cov` and rustup's llvm-tools.
coverage *ARGS:
    cargo llvm-cov -p robustseg-metrics -p robustseg-attacks -p robustseg-datasets -p robustseg-training --features robustseg-datasets/fetch --summary-only {{ARGS}}

# The operations' tests under AddressSanitizer, for the sake of their unsafe code; on Linux.
sanitize:
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --package robustseg-ops --lib --tests --target x86_64-unknown-linux-gnu

# A release binary for NVIDIA GPUs, and what `scripts/gpu_check.sh` runs, into target/cuda/bring; needs Python's pip, no toolkit.
build-cuda:
    scripts/cuda.sh build

# Lint the CUDA side.
check-cuda:
    scripts/cuda.sh check

# Test the CUDA side on the emulated GPU; needs a C++ compiler.
test-cuda *ARGS:
    scripts/cuda.sh test {{ARGS}}

# On a machine with a GPU: CALL is check (does it run), measure (against PyTorch) or study (CamVid by five methods); `scripts/gpu_check.sh` says more.
gpu-check CALL *ARGS:
    scripts/gpu_check.sh {{CALL}} {{ARGS}}

# The tests of gpu-check: programs that crash, hang and are killed; needs no GPU.
test-gpu-check:
    python3 -B -m unittest discover tests/gpu_check

# Build the GPU emulator into FOLDER and check it: programs built with the feature cuda then run by LD_LIBRARY_PATH=FOLDER.
gpu-emulator FOLDER='target/gpu_emulator':
    scripts/gpu_emulator.sh {{FOLDER}}
    scripts/gpu_emulator.sh {{FOLDER}} --self-test

# Feed TARGET (label_png, image_jpeg, sbd_mat, manifest, spec, checkpoint) foreign bytes for SECONDS; needs `cargo install cargo-fuzz`.
fuzz TARGET SECONDS='600':
    scripts/fuzz.sh {{TARGET}} {{SECONDS}}

# Change the code of WHAT (metrics, attacks, checkpoints, resuming) here and there, and list what no test notices; needs `cargo install cargo-mutants`.
mutants WHAT *ARGS:
    scripts/mutants.sh {{WHAT}} {{ARGS}}

# Format and lint, warnings as errors.
lint:
    scripts/ci.sh format lint

# Documentation, warnings as errors.
docs:
    scripts/ci.sh docs

# Licences, sources and bans of the dependencies.
deny:
    scripts/ci.sh deny

# Known vulnerabilities of the dependencies; fetches the database.
advisories:
    scripts/ci.sh advisories

# All that continuous integration runs.
ci:
    .ci/run

# Seconds a training step, method by method.
bench *ARGS:
    cargo run --release --package robustseg-driver --bin robustseg -- bench {{ARGS}}

# The same, in turn with PyTorch; ARGS are those that both know: --batch, --size, --layers, --width, --methods, --steps, --warmup.
bench-peer *ARGS:
    scripts/bench_peer.sh {{ARGS}}

# Images a second of the loader, in turn with torchvision and albumentations.
bench-data ROUNDS='3':
    scripts/bench_data.sh {{ROUNDS}}

# Seconds that writing states takes, starting a run, and going on with one.
bench-checkpoint ROUNDS='5':
    cargo build --release --package robustseg-driver --bin robustseg
    python3 scripts/bench_checkpoint.py target/release/robustseg {{ROUNDS}}
