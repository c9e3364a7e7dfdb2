#!/usr/bin/env bash
# Builds the GPU emulator (tests/gpu_emulator) into a folder: a stand-in for libcuda, cuDNN, cuBLAS,
# cuRAND and NCCL on the processor, with this workspace's kernels and candle's compiled as C++.
#
#   scripts/gpu_emulator.sh DIR [--self-test]
#   LD_LIBRARY_PATH=DIR PROGRAM
#
# PROGRAM must be built with the feature `cuda`; CANDLE_KERNELS=none suffices.
# CXX names the compiler (g++). SANITIZE=address also finds reads within the margins of an allocation.
# PROGRAM then needs LD_PRELOAD=$(g++ -print-file-name=libasan.so).
set -euo pipefail
(($# == 1)) || [[ ${2-} == --self-test ]] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1/kernels"
out=$(realpath "$1")
cd "$(dirname "$0")/.."
source=tests/gpu_emulator
cxx=${CXX:-g++}
common=(-std=c++17 -g -fPIC -Wall -Wextra ${SANITIZE:+-fsanitize=$SANITIZE -fno-omit-frame-pointer})

jobs=()
in_parallel() { # COMMAND...
    ((${#jobs[@]} < $(nproc))) || { wait "${jobs[0]}"; jobs=("${jobs[@]:1}"); }
    "$@" &
    jobs+=($!)
}
wait_for_all() {
    for job in "${jobs[@]}"; do wait "$job"; done
    jobs=()
}

# --- The libraries ---------------------------------------------------------------------------------
newer() { # TARGET SOURCE...: whether TARGET is missing or older than a source
    local target=$1
    shift
    [[ ! -e $target ]] || [[ -n $(find "$@" -newer "$target" -print -quit) ]]
}

library=$out/libgpu_emulator.so
if newer "$library" $source/*.cpp $source/*.hpp scripts/gpu_emulator.sh; then
    objects=()
    for file in $source/*.cpp; do
        object=$out/$(basename "$file" .cpp).o
        objects+=("$object")
        if newer "$object" "$file" $source/*.hpp scripts/gpu_emulator.sh; then
            in_parallel "$cxx" "${common[@]}" -O3 -march=native -fvisibility=hidden -c "$file" -o "$object"
        fi
    done
    wait_for_all
    "$cxx" "${common[@]}" -shared -Wl,-soname,libgpu_emulator.so -Wl,-z,defs "${objects[@]}" -ldl -lpthread -o "$library"
fi
# Links for every name that cudarc tries first, and for the runtime that candle links.
for name in cuda cudnn cublas cublasLt curand nvrtc; do ln -sf libgpu_emulator.so "$out/lib$name.so"; done
ln -sf libgpu_emulator.so "$out/libcuda.so.1"
ln -sf libgpu_emulator.so "$out/libnccl.so.2"
for version in 12 13; do ln -sf libgpu_emulator.so "$out/libcudart.so.$version"; done

# --- The kernels -----------------------------------------------------------------------------------
# Each file becomes a separate library, just as nvcc makes a module from it.
kernels() { # PREFIX FILE OPTIONS...
    local library file=$2
    library=$out/kernels/$1_$(basename "$file" .cu).so
    shift 2
    newer "$library" "$(dirname "$file")" $source/{device,kernel}.hpp $source/cuda scripts/gpu_emulator.sh || return 0
    local options=(-x c++ "${common[@]}" -DROBUSTSEG_EMULATED -I$source/cuda -include $source/device.hpp -w "$@")
    # The names after __global__, with their __launch_bounds__.
    "$cxx" "${options[@]}" -E -P -DEMULATED_LISTING "$file" | tr '\n' ' ' | sed 's/__global__/\n&/g' | awk '
        /^__global__/ {
            bounds = 1024
            if (match($0, /__launch_bounds__ *\([^)]*\)/)) {
                bounds = substr($0, RSTART, RLENGTH)
                $0 = substr($0, 1, RSTART - 1) substr($0, RSTART + RLENGTH)
                gsub(/__launch_bounds__ *\(|\)|,.*/, "", bounds)
            }
            if (match($0, /void +[A-Za-z_0-9]+ *\(/)) {
                name = substr($0, RSTART + 4, RLENGTH - 5)
                gsub(/ /, "", name)
                print "EMULATED_KERNEL(" name ", (" bounds "))"
            }
        }' >"$library.names"
    [[ -s $library.names ]] || { echo "gpu_emulator.sh: no kernel found in $file" >&2; exit 1; }
    { echo "#include \"$(realpath "$file")\""; cat "$library.names"; } |
        "$cxx" "${options[@]}" -O2 -ffp-contract=off -fno-strict-aliasing -fvisibility=hidden -shared - -Wl,-Bsymbolic -L"$out" -lgpu_emulator -o "$library"
    rm "$library.names"
}

# Violations of array bounds or alignment, signed overflows and the like end the process.
strict=(-fsanitize=undefined -fno-sanitize=vptr,null -fsanitize-undefined-trap-on-error)
for file in crates/ops/src/cuda/kernels/*.cu; do
    [[ ! -e $file ]] || in_parallel kernels robustseg "$file" "${strict[@]}"
done
if [[ ${2-} == --self-test ]]; then
    wait_for_all
    kernels self_test $source/self_test/kernels.cu "${strict[@]}"
    "$cxx" "${common[@]}" -O1 $source/self_test/main.cpp -L"$out" -lgpu_emulator -Wl,-rpath,"$out" -o "$out/self_test"
    "$out/self_test"
    exit
fi

candle=$(cargo metadata --format-version 1 --features cuda --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" | tr ',' '\n' |
    sed -n 's/.*"manifest_path":"\(.*candle-kernels-[^"]*\)\/Cargo.toml".*/\1/p')
[[ -n $candle ]] || { echo "gpu_emulator.sh: cargo does not know candle-kernels" >&2; exit 1; }
for name in affine binary cast conv fill indexing reduce ternary unary; do
    in_parallel kernels candle "$candle/src/$name.cu"
done
wait_for_all
