#!/usr/bin/env bash
# cuda.sh build           builds a release binary for NVIDIA GPUs of compute capability 8.0 and up, and the files for
#                         gpu_check.sh, into target/cuda/bring and target/cuda/bring.tar.xz; prints how to use them
# cuda.sh check           runs clippy on the CUDA side, without a CUDA compiler
# cuda.sh test [ARGS]     tests it on the emulated GPU (scripts/gpu_emulator.sh), without a GPU or a CUDA compiler
# cuda.sh run COMMAND     runs a command on a machine with a GPU, with the CUDA libraries in PyTorch's Python packages
#
# No CUDA toolkit is needed: `build` fetches nvcc with its headers as Python packages. The program loads CUDA's
# libraries when it starts, and runs on the CPU if there are none.
#
#   ROBUSTSEG_CUDA          folder for the compiler [~/.cache/robustseg/cuda]
#   ROBUSTSEG_DATA          folder of camvid, which `build` packs for `gpu_check.sh study` [unset: no study]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kit=${ROBUSTSEG_CUDA:-${XDG_CACHE_HOME:-$HOME/.cache}/robustseg/cuda}

# Versions that work together: pip alone would install newer dependencies of nvcc.
compiler() {
    export ROBUSTSEG_NVCC=$kit/python/nvidia/cu13/bin/nvcc
    [ -x "$ROBUSTSEG_NVCC" ] || python3 -m pip install --quiet --no-deps --no-compile --upgrade --target "$kit/python" \
        nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 \
        nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
}

# cargo_for KERNELS SUBCOMMAND ARGS: cargo for the CUDA side, with a separate target folder per kind of kernels.
cargo_for() {
    local kernels=$1 subcommand=$2 folder=target/cuda
    shift 2
    if [ "$kernels" = none ]; then
        folder=target/cuda-none
        # Most dependencies are the same without CUDA: those of an earlier build serve here too. The project's own crates
        # and cargo's lock are not shared, because a build here would make those there look fresh.
        if ! [ -e $folder/debug ] && [ -e target/debug ]; then
            mkdir -p $folder && cp -al target/debug $folder
            rm -rf $folder/debug/.cargo-lock $folder/debug/incremental
            find $folder/debug -name '*robustseg*' -prune -exec rm -rf {} +
        fi
    fi
    # The linker still expects the libraries that are loaded at run time.
    mkdir -p "$kit/stubs/lib" "$kit/stubs/lib64"
    for library in cuda cudart cudnn cublas cublasLt curand nvrtc; do
        [ -e "$kit/stubs/lib/lib$library.a" ] || ar crs "$kit/stubs/lib/lib$library.a"
    done
    export CANDLE_KERNELS=$kernels NVCC=$PWD/scripts/cuda_nvcc.sh CUDA_HOME=$kit/stubs
    export CUDARC_CUDA_VERSION=13000 CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}
    export RUSTC_WRAPPER=$PWD/scripts/cuda_rustc.sh
    cargo "$subcommand" --locked --target-dir "$folder" --features cuda "$@"
}

# executables FOLDER: reads cargo's messages from standard input and copies the test executables to FOLDER, named by test.
executables() {
    python3 -c '
import json, shutil, sys
for line in sys.stdin:
    message = json.loads(line) if line.startswith("{") else {}
    # The driver has tests of the same names. They need its folder and are left out.
    ours = message.get("package_id", "").split("#")[-1].startswith(("robustseg-ops@", "robustseg-tests@"))
    if ours and message.get("executable") and message["profile"]["test"]:
        shutil.copy(message["executable"], sys.argv[1] + "/" + message["target"]["name"])
' "$1"
}

build() {
    compiler
    cargo_for lean build --release --workspace --bin robustseg
    local bring=target/cuda/bring
    rm -rf "$bring" && mkdir -p "$bring"
    cp "target/cuda/release/robustseg" "$bring"
    cargo_for lean test --release --workspace --test devices --test goldens --test precision \
        --no-run --message-format json | executables "$bring"
    strip "$bring"/*
    graph_interface "$bring/cudnn_frontend" || echo "cuda.sh: without cuDNN's graph interface, which the probe then leaves out" >&2
    tar -cJf "$bring.tar.xz" -C "$bring" .
    pack_camvid
    how_to_bring
}

# graph_interface FOLDER: downloads cuDNN's graph interface for Python on a GPU machine, in the version for cuDNN 9.19.
graph_interface() {
    local all=$kit/cudnn_frontend
    [ -d "$all/cudnn" ] || python3 -m pip install --quiet --no-deps --no-compile --only-binary=:all: --implementation cp \
        --python-version 3.12 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --target "$all" \
        nvidia-cudnn-frontend==1.18.0 || return
    mkdir -p "$1/cudnn" && cp "$all"/cudnn/*.py "$all"/cudnn/*.so "$1/cudnn"
}

# The images for training and validation. They are compressed already.
pack_camvid() {
    local data=${ROBUSTSEG_DATA:-}/camvid
    [ -d "$data" ] || return 0
    tar -cf target/cuda/camvid.tar -C "$data/.." \
        camvid/train.txt camvid/train camvid/trainannot camvid/val.txt camvid/val camvid/valannot
}

how_to_bring() {
    local bytes limit=$((55 << 20))
    bytes=$(stat -c %s target/cuda/bring.tar.xz)
    ls -l target/cuda/bring target/cuda/*.tar*
    cat <<TEXT

On the machine with the GPU, in a copy of this repository. git ignores what has to be brought: carry it by name.

  scripts/gpu_check.sh check      200 s   carry target/cuda/bring.tar.xz
  scripts/gpu_check.sh measure    420 s   carry target/cuda/bring.tar.xz and what check brought back, caches.tar.xz.0 and so on,
                                          copied into target/cuda
  scripts/gpu_check.sh study      560 s   carry target/cuda/bring.tar.xz and target/cuda/camvid.tar
TEXT
    [ -e target/cuda/camvid.tar ] || echo "There is no camvid.tar: for a study, build with ROBUSTSEG_DATA."
    if ((bytes > limit)); then
        echo "cuda.sh: target/cuda/bring.tar.xz has $bytes bytes, more than the $limit that may travel" >&2
        exit 1
    fi
}

check() {
    cargo_for none clippy --workspace --all-targets -- -D warnings
}

test_emulated() {
    command -v "${CXX:-g++}" >/dev/null || {
        echo "cuda.sh: the emulated GPU needs a C++ compiler; install g++, or name another in CXX" >&2
        exit 1
    }
    local emulator=$PWD/target/cuda-none/emulator out
    scripts/gpu_emulator.sh "$emulator"
    export LD_LIBRARY_PATH=$emulator${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    cargo_for none test --workspace --test devices --test fallbacks --test goldens --test networks \
        --test transformers --test precision --test recordings --test gpu_emulator --test gpu_ranks "$@"
    (($# == 0)) || return 0
    # A complete run from spec to report, with the program that the tests have built.
    out=$(mktemp -d)
    "target/cuda-none/debug/robustseg" run experiments/smoke.yaml --device cuda --set precision=bf16 \
        --set training.epochs=1 --out "$out/run"
    grep -q "emulated GPU" "$out/run/provenance.json"
    rm -r "$out"
}

run_on_gpu() {
    local packages
    packages=$(python3 -c 'import nvidia; print(list(nvidia.__path__)[0])')
    LD_LIBRARY_PATH=$packages/cu13/lib:$packages/cudnn/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$@"
}

case ${1:-} in
build | check) "$1" ;;
test) shift && test_emulated "$@" ;;
run) shift && run_on_gpu "$@" ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
