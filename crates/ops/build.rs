//! Compiles the CUDA kernels, where the feature `cuda` asks for them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let kernels = Path::new("src/cuda/kernels");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", kernels.display());
    println!("cargo:rerun-if-env-changed=NVCC");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut files: Vec<_> = fs::read_dir(kernels)
        .expect("the kernels are there")
        .map(|entry| PathBuf::from(entry.expect("a readable folder").file_name()))
        .filter(|name| name.extension().is_some_and(|extension| extension == "cu"))
        .map(|name| format!("#include \"{}\"\n", name.display()))
        .collect();
    files.sort();
    fs::write(out.join("kernels.cu"), files.concat()).expect("a writable folder");

    let nvcc = env::var("NVCC").unwrap_or_else(|_| "nvcc".into());
    let mut compile = Command::new(&nvcc);
    compile.args(["--fatbin", "-O3", "-std=c++17"]);
    // Machine code for A100 and H100, their kin from the PTX.
    compile.args(["-gencode=arch=compute_80,code=sm_80", "-gencode=arch=compute_90,code=sm_90"]);
    compile.args(["-gencode=arch=compute_80,code=compute_80"]);
    compile.arg("-I").arg(kernels).arg("-o").arg(out.join("kernels.fatbin")).arg(out.join("kernels.cu"));
    match compile.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{nvcc} failed to compile the CUDA kernels: {status}"),
        Err(error) => {
            panic!("cannot run {nvcc}, which the feature `cuda` needs (set NVCC to its path): {error}")
        }
    }
}
