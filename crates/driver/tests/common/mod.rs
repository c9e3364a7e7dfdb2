//! Shared by the tests of the command line: the program, a tiny network, a tiny case.

// Each test file uses only a part of it.
#![allow(dead_code)]

pub mod generated;
pub mod processes;
pub mod scenes;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use candle_core::{Device, Tensor};
use rand::RngExt;
use robustseg_models::{Network, NetworkConfig, PspNetConfig};
use robustseg_random::stream;

/// The number of classes of the tiny network.
pub const CLASSES: usize = 4;

/// The program, isolated from the data and settings of the user who runs the tests.
pub fn robustseg(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_robustseg"));
    command.args(arguments).env_remove("ROBUSTSEG_DATA").env_remove("ROBUSTSEG_LOG");
    command.env_remove("RUST_BACKTRACE");
    command.env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    command
}

/// Runs the program in `folder`.
pub fn run_in(folder: &Path, arguments: &[&str]) -> Output {
    robustseg(arguments).current_dir(folder).output().unwrap()
}

/// The exit status and standard error of a run that must fail with one short paragraph.
pub fn failure(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = run_in(folder, arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!error.contains("panicked") && !error.contains("backtrace"), "{error}");
    (output.status.code().unwrap(), error)
}

/// Requires that the program fails with `status` and a message that contains all of `parts`.
pub fn fails(folder: &Path, arguments: &[&str], status: i32, parts: &[&str]) {
    let (found, error) = failure(folder, arguments);
    for part in parts {
        assert!(error.contains(part), "{arguments:?} does not say {part:?}:\n{error}");
    }
    assert_eq!(found, status, "{arguments:?}: {error}");
}

/// All files below `folder` with their contents.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    found
}

/// Requires that the program refuses its command line with all of `parts` and changes nothing below
/// `folder`.
pub fn refuses(folder: &Path, arguments: &[&str], parts: &[&str]) {
    let before = files(folder);
    fails(folder, arguments, 2, parts);
    let after = files(folder);
    assert!(after == before, "{arguments:?} left {:?} of {:?}", after.keys(), before.keys());
}

/// Requires that the program succeeds.
pub fn succeeds(folder: &Path, arguments: &[&str]) {
    let output = run_in(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The repository's folder of experiments.
pub fn experiments() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments")
}

/// A tiny network's configuration.
pub fn tiny() -> NetworkConfig {
    NetworkConfig::new(PspNetConfig { layers: [1, 1, 1, 1], width: 4, ..PspNetConfig::default() }, CLASSES)
}

/// A checkpoint of the tiny network at `folder`/model.safetensors.
pub fn checkpoint(folder: &Path) -> PathBuf {
    let path = folder.join("model.safetensors");
    Network::new(&tiny(), 1, &Device::Cpu).unwrap().save(&path).unwrap();
    path
}

/// A case of two images of 25 x 33 at `folder`/case.safetensors.
pub fn case(folder: &Path) -> PathBuf {
    let path = folder.join("case.safetensors");
    let random = &mut stream(1, "case", [0; 3]);
    let image: Vec<f32> = (0..2 * 3 * 25 * 33).map(|_| random.random()).collect();
    let label: Vec<u8> = (0..2 * 25 * 33).map(|_| random.random_range(0..CLASSES as u8)).collect();
    let image = Tensor::from_vec(image, (2, 3, 25, 33), &Device::Cpu).unwrap();
    save_case(&path, &image, &Tensor::from_vec(label, (2, 25, 33), &Device::Cpu).unwrap());
    path
}

/// Writes a case.
pub fn save_case(path: &Path, image: &Tensor, label: &Tensor) {
    let tensors = HashMap::from([("image", image.clone()), ("label", label.clone())]);
    candle_core::safetensors::save(&tensors, path).unwrap();
}
