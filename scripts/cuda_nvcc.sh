#!/usr/bin/env bash
# Replaces nvcc when the CUDA side is built (scripts/cuda.sh), and leaves out kernels that this project never runs.
#
#   CANDLE_KERNELS=lean   without candle's quantised and mixture-of-experts kernels, which take most of the compile time [default]
#   CANDLE_KERNELS=none   without any kernel, for checks and for the emulated GPU; needs no compiler
#   ROBUSTSEG_NVCC        the real nvcc
set -euo pipefail

target= folder=. source= kind=run
for ((i = 1; i <= $#; i++)); do
    case ${!i} in
    -o) j=$((i + 1)) target=${!j} ;;
    --output-directory) j=$((i + 1)) folder=${!j} ;;
    *.cu) source=${!i} ;;
    -c) kind=object ;;
    --lib) kind=archive ;;
    --ptx) kind=ptx ;;
    --fatbin) kind=fatbin ;;
    esac
done
case $source in
*moe/* | *mmq_gguf/* | *mmvq_gguf.cu | *quantized.cu) unused=yes ;;
*) unused=no ;;
esac

case $kind in
archive) # of objects that hold code for the host alone
    objects=()
    for argument; do [[ $argument != *.o ]] || objects+=("$argument"); done
    rm -f "$target"
    exec ar crs "$target" "${objects[@]}"
    ;;
object)
    if [[ $unused == yes ]]; then
        # One file defines every function that candle declares. None of them is ever called.
        if [[ $source == *moe_gguf.cu ]]; then
            sed -n 's/^ *pub fn \([A-Za-z0-9_]*\).*/void \1(void) { __builtin_trap(); }/p' src/ffi.rs
        fi | exec "${CC:-cc}" -x c -c -fPIC -w -o "$target" -
        exit
    fi
    ;;
ptx | fatbin)
    if [[ $unused == yes || ${CANDLE_KERNELS:-lean} == none ]]; then
        base=$(basename "$source" .cu)
        : >"${target:-$folder/$base.$kind}"
        exit
    fi
    ;;
run) [[ ${CANDLE_KERNELS:-lean} != none ]] || exit 0 ;; # --version and its like
esac
exec "${ROBUSTSEG_NVCC:?the real nvcc}" "$@"
