#!/usr/bin/env bash
# Runs rustc when the CUDA side is built (scripts/cuda.sh). candle asks cudarc to link CUDA's libraries; the flag added
# here loads them at run time instead. RUSTFLAGS would set it for all crates, which would be compiled once more.
rustc=$1
shift
case " $* " in
*" --crate-name cudarc "*) exec "$rustc" "$@" --cfg 'feature="dynamic-loading"' ;;
*) exec "$rustc" "$@" ;;
esac
