//! Two processes with a GPU each. Skipped with a line where there is no `mpirun`.
//!
//! On the emulated GPU, two are there on request.

#![cfg(all(feature = "cuda", target_os = "linux"))]

mod common;

use std::fs;

use common::processes::Runs;

const DIRECT: &str = "gradients go from GPU to GPU by NCCL";

#[test]
fn gpus_add_up_gradients_as_the_host_does() {
    let Some(mut runs) = Runs::new() else { return };
    if robustseg_ops::cuda::count() == 0 {
        eprintln!("skipped: there is no GPU");
        return;
    }
    let on =
        |device| ["--device", device, "--set", "training.epochs=2", "--set", "training.validate_every=1"];
    let log = |runs: &Runs, out: &str| fs::read_to_string(runs.path(out).join("run.log")).unwrap();
    runs.succeed(2, "shared", &on("cuda:0"));
    assert!(log(&runs, "shared").contains("processes 0 and 1 share a GPU"), "{}", log(&runs, "shared"));
    let emulated = fs::read_to_string(runs.path("shared/provenance.json")).unwrap().contains("emulated GPU");
    if !emulated && robustseg_ops::cuda::count() < 2 {
        eprintln!("skipped: there is one GPU");
        return;
    }
    runs.environment.insert("GPU_EMULATOR_DEVICES", "2");
    runs.succeed(2, "direct", &on("cuda"));
    assert!(log(&runs, "direct").contains(DIRECT), "{}", log(&runs, "direct"));
    // The sum of two numbers has the same bits in any order.
    assert_eq!(runs.losses("direct"), runs.losses("shared"));
    assert!(runs.weights("direct") == runs.weights("shared"), "other weights");
}
