# The project's commands; `just` lists them. To run them without just, copy the commands from the recipes.

_list:
    @just --list

# Train, evaluate and report what SPEC says.
experiment SPEC *ARGS:
    cargo experiment {{SPEC}} {{ARGS}}

# All tests.
test *ARGS:
    cargo test --workspace {{ARGS}}

# The documentation as a site in target/book; needs `cargo install mdbook`.
book:
    scripts/book.sh

# Compare with PyTorch's results for the cases in FOLDER.
goldens FOLDER='tests/goldens':
    ROBUSTSEG_GOLDENS={{absolute_path(FOLDER)}} cargo test --package robustseg-tests --test goldens

# Test the faults of docs/faults.md with real processes. A short run is killed at KILLS random moments.
test-faults KILLS='200':
    ROBUSTSEG_KILLS={{KILLS}} cargo test --package robustseg-driver --test faults -- --nocapture

# Line coverage of the metrics, attacks, datasets and training crates; needs `cargo install cargo-llvm-cov` and rustup's llvm-tools.
coverage *ARGS:
    cargo llvm-cov -p robustseg-metrics -p robustseg-attacks -p robustseg-datasets -p robustseg-training --features robustseg-datasets/fetch --summary-only {{ARGS}}

# Run the operations' tests under AddressSanitizer, because they contain unsafe code. Linux only.
sanitize:
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --package robustseg-ops --lib --tests --target x86_64-unknown-linux-gnu

# Build a release binary for NVIDIA GPUs and the files for `scripts/gpu_check.sh` into target/cuda/bring. Needs Python's pip but no CUDA toolkit.
build-cuda:
    scripts/cuda.sh build

# Lint the CUDA side.
check-cuda:
    scripts/cuda.sh check

# Test the CUDA side on the emulated GPU. Needs a C++ compiler.
test-cuda *ARGS:
    scripts/cuda.sh test {{ARGS}}

# On a machine with a GPU, CALL check tests, measure compares the speed with PyTorch, and study trains on CamVid with five methods; see `scripts/gpu_check.sh`.
gpu-check CALL *ARGS:
    scripts/gpu_check.sh {{CALL}} {{ARGS}}

# Test the study's script, and that the page of results shows what the records say.
test-study:
    python3 -B -m unittest discover tests/study

# Test gpu-check with programs that crash, hang and are killed. Needs no GPU.
test-gpu-check:
    python3 -B -m unittest discover tests/gpu_check

# Build the GPU emulator into FOLDER and check it. Programs built with the feature cuda then run with LD_LIBRARY_PATH=FOLDER.
gpu-emulator FOLDER='target/gpu_emulator':
    scripts/gpu_emulator.sh {{FOLDER}}
    scripts/gpu_emulator.sh {{FOLDER}} --self-test

# Fuzz TARGET (label_png, image_jpeg, sbd_mat, torch_file, manifest, spec, checkpoint) for SECONDS; needs `cargo install cargo-fuzz`.
fuzz TARGET SECONDS='600':
    scripts/fuzz.sh {{TARGET}} {{SECONDS}}

# Mutate the code of WHAT (metrics, attacks, checkpoints, resuming) and list the changes that no test notices; needs `cargo install cargo-mutants`.
mutants WHAT *ARGS:
    scripts/mutants.sh {{WHAT}} {{ARGS}}

# Format and lint, warnings as errors.
lint:
    scripts/ci.sh format lint

# Build the documentation, warnings as errors.
docs:
    scripts/ci.sh docs

# Check licences, sources and bans of the dependencies.
deny:
    scripts/ci.sh deny

# Check the dependencies for known vulnerabilities. Downloads the database.
advisories:
    scripts/ci.sh advisories

# Run everything that continuous integration runs.
ci:
    .ci/run

# Measure the seconds per training step of each method.
bench *ARGS:
    cargo run --release --package robustseg-driver --bin robustseg -- bench {{ARGS}}

# The same, alternating with PyTorch. Both take ARGS: --batch, --size, --layers, --width, --methods, --steps, --warmup.
bench-peer *ARGS:
    scripts/bench_peer.sh {{ARGS}}

# Time SegFormer-B0 and UPerNet-ConvNeXt-T, alternating with PyTorch. Takes rounds, side and batch.
bench-transformers *ARGS:
    scripts/bench_transformers.sh {{ARGS}}

# Measure the loader's images per second, alternating with torchvision and albumentations.
bench-data ROUNDS='3':
    scripts/bench_data.sh {{ROUNDS}}

# Measure the seconds for writing states, and for starting and resuming a run.
bench-checkpoint ROUNDS='5':
    cargo build --release --package robustseg-driver --bin robustseg
    python3 scripts/bench_checkpoint.py target/release/robustseg {{ROUNDS}}
