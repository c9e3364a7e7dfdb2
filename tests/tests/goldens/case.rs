//! A golden case: a folder with a network, an input, and PyTorch's results for them.

use candle_core::{DType, Device, Tensor};
use robustseg_models::Network;
use robustseg_tests::device;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) network: Network,
    pub(crate) image: Tensor,
    pub(crate) label: Tensor,
    tensors: HashMap<String, Tensor>,
    errors: Value,
}

/// The error of PyTorch's own f32 against the golden values.
#[derive(Clone, Copy)]
pub(crate) enum Recorded {
    /// The norm of the difference over the norm.
    RelativeL2(f64),
    /// Share of elements that differ by more than 1e-4.
    DifferingFraction(f64),
}

/// All cases, freshly loaded.
pub(crate) fn cases() -> Vec<Case> {
    let folder = std::env::var_os("ROBUSTSEG_GOLDENS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens"),
        |folder| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PathBuf::from(folder)),
    );
    let entries = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("the golden cases in {}: {error}", folder.display()));
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.join("case.safetensors").exists())
        .collect();
    assert!(!folders.is_empty(), "{} holds no case", folder.display());
    folders.sort();
    folders.iter().map(|folder| Case::load(folder)).collect()
}

impl Case {
    fn load(folder: &Path) -> Self {
        let path = |name: &str| folder.join(name);
        let of = |name: &str, error: &dyn std::fmt::Display| format!("{}: {error}", path(name).display());
        let device = device();
        let network = Network::load(&path("model.safetensors"), &device)
            .unwrap_or_else(|error| panic!("{}", of("model.safetensors", &error)));
        let tensors = candle_core::safetensors::load(path("case.safetensors"), &Device::Cpu)
            .unwrap_or_else(|error| panic!("{}", of("case.safetensors", &error)));
        let errors = std::fs::read(path("f32_error.json"))
            .map_err(|error| of("f32_error.json", &error))
            .and_then(|text| serde_json::from_slice(&text).map_err(|error| of("f32_error.json", &error)))
            .unwrap_or_else(|error| panic!("{error}"));
        Self {
            name: folder.file_name().expect("a case has a name").to_string_lossy().into_owned(),
            network,
            image: tensors["image"].to_device(&device).expect("memory on the device"),
            label: tensors["label"].to_device(&device).expect("memory on the device"),
            tensors,
            errors,
        }
    }

    /// The golden tensor `name`.
    pub(crate) fn golden(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("case {} has no {name}", self.name))
    }

    /// The names of all tensors, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The recorded error of the tensor `name`.
    pub(crate) fn recorded(&self, name: &str) -> Recorded {
        let number = |kind| self.errors[name][kind].as_f64();
        number("relative_l2")
            .map(Recorded::RelativeL2)
            .or_else(|| number("differing_fraction").map(Recorded::DifferingFraction))
            .unwrap_or_else(|| panic!("case {}: f32_error.json has no error of {name}", self.name))
    }
}

/// (N, H, W, C) to (N, C, H, W), and likewise for weights.
pub(crate) fn channels_first(tensor: &Tensor) -> Tensor {
    tensor.permute((0, 3, 1, 2)).and_then(|tensor| tensor.contiguous()).expect("a tensor of four axes")
}

/// All values, in order.
pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().and_then(|tensor| tensor.to_dtype(DType::F64));
    flat.and_then(|tensor| tensor.to_vec1()).expect("a tensor of numbers")
}
