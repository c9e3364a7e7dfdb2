//! A golden case: a network, an input, and PyTorch's results for them.

use candle_core::{DType, Device, Result, Tensor};
use robustseg_models::Network;
use robustseg_tests::device;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) network: Network,
    pub(crate) image: Tensor,
    pub(crate) label: Tensor,
    tensors: HashMap<String, Tensor>,
    /// The error of PyTorch's own f32 for each tensor.
    errors: Value,
}

impl Case {
    /// The case `name`, on images of `size` (height, width).
    pub(crate) fn load((name, [height, width]): (&'static str, [usize; 2])) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transformers").join(name);
        let device = device();
        let network = Network::load(&folder.join("model.safetensors"), &device).expect("a network");
        let tensors = candle_core::safetensors::load(folder.join("case.safetensors"), &Device::Cpu);
        let tensors = tensors.expect("a case");
        let (image, label) = batch([3, height, width], &device).expect("images");
        let errors = std::fs::read(folder.join("f32_error.json")).expect("the recorded errors");
        Self { name, network, image, label, tensors, errors: serde_json::from_slice(&errors).expect("JSON") }
    }

    /// The norm of the difference of `ours` from the golden tensor `name`, and the norm of that.
    pub(crate) fn distance(&self, name: &str, ours: &Tensor) -> [f64; 2] {
        let golden = self.tensors.get(name).unwrap_or_else(|| panic!("{} has no {name}", self.name));
        assert_eq!(ours.dims(), golden.dims(), "{}: {name}", self.name);
        let (ours, golden) = (values(ours), values(golden));
        let norm =
            |values: &mut dyn Iterator<Item = f64>| values.map(|value| value.powi(2)).sum::<f64>().sqrt();
        [norm(&mut ours.iter().zip(&golden).map(|(a, b)| a - b)), norm(&mut golden.iter().copied())]
    }

    /// Requires that `ours` is the golden tensor `name` up to 1e-4 + 10 x the recorded error.
    pub(crate) fn compare(&self, name: &str, ours: &Tensor) {
        let recorded = self.errors[name].as_f64().expect("an error of each tensor");
        let [difference, norm] = self.distance(name, ours);
        let error = difference / norm;
        let bound = 1e-4 + 10.0 * recorded;
        // Written such that NaN fails.
        assert!(error <= bound, "{}: {name} is off by {error:.1e}, at most {bound:.1e}", self.name);
    }

    /// [`Self::compare`] of `ours` in PyTorch's layout.
    pub(crate) fn compare_outside(&self, name: &str, ours: &Tensor) {
        self.compare(name, &outside(ours));
    }

    /// Compares each golden tensor named `prefix` plus a parameter's name with the result of `ours`
    /// for that parameter. Returns their number.
    pub(crate) fn compare_named(&self, prefix: &str, ours: impl Fn(&str) -> Option<Tensor>) -> usize {
        let compare = |(name, parameter): (&str, &str)| {
            let ours = ours(parameter).unwrap_or_else(|| panic!("{}: no {parameter}", self.name));
            self.compare_outside(name, &ours);
        };
        self.named(prefix).map(compare).count()
    }

    /// The names of the golden tensors that begin with `prefix`, and what follows it.
    pub(crate) fn named<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.tensors.keys().filter_map(move |name| Some((name.as_str(), name.strip_prefix(prefix)?)))
    }
}

/// `count` numbers from 0 to 255, as `golden.py` has them.
fn hashed(key: u32, count: usize) -> impl Iterator<Item = u8> {
    (0..count as u32).map(move |index| {
        let number = index.wrapping_mul(2_654_435_761).wrapping_add(key);
        let number = (number ^ (number >> 15)).wrapping_mul(2_246_822_519);
        ((number ^ (number >> 13)) >> 24) as u8
    })
}

/// Images (N, 3, H, W) and labels (N, H, W) with numbers from [`hashed`].
fn batch([images, height, width]: [usize; 3], device: &Device) -> Result<(Tensor, Tensor)> {
    let pixels = images * height * width;
    let image = hashed(1, 3 * pixels).map(|value| f32::from(value) / 256.0).collect();
    let label = hashed(2, pixels).map(|value| match value % 4 {
        3 => 255,
        class => class,
    });
    Ok((
        Tensor::from_vec::<_, f32>(image, (images, 3, height, width), device)?,
        Tensor::from_vec::<_, u8>(label.collect(), (images, height, width), device)?,
    ))
}

/// In PyTorch's layout: convolution weights (O, I, KH, KW) and maps (N, C, H, W).
pub(crate) fn outside(tensor: &Tensor) -> Tensor {
    match tensor.rank() {
        4 => tensor.permute((0, 3, 1, 2)).and_then(|tensor| tensor.contiguous()).expect("four axes"),
        _ => tensor.clone(),
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().and_then(|flat| flat.to_dtype(DType::F64));
    flat.and_then(|flat| flat.to_vec1()).expect("numbers")
}
