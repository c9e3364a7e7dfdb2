//! The effect of reduced precision on a GPU: logits, gradients and Fast Newton's epsilon of the
//! golden networks in TF32 and bf16, compared with f32. The tolerances are stated here, and the
//! differences are printed.
#![cfg(feature = "cuda")]

use candle_core::{DType, Device, Tensor};
use robustseg_attacks::{Attack, Case, FastNewton, PixelObjective, input_gradient};
use robustseg_evaluation::Target;
use robustseg_models::{Network, NormStatistics, Precision};
use robustseg_ops::Arithmetic;
use robustseg_ops::cuda::{count, open};
use robustseg_random::stream;
use std::path::{Path, PathBuf};

/// The norm of the difference over the norm.
fn relative(found: &Tensor, expected: &Tensor) -> f64 {
    let values = |tensor: &Tensor| -> Vec<f64> {
        let tensor = tensor.to_device(&Device::Cpu).and_then(|tensor| tensor.to_dtype(DType::F64));
        tensor.and_then(|tensor| tensor.flatten_all()?.to_vec1()).expect("numbers")
    };
    let (found, expected) = (values(found), values(expected));
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(&expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied())
}

/// Logits, the mean gain's gradient, and Fast Newton's epsilon.
fn outcome(network: &Network, image: &Tensor, label: &Tensor) -> [Tensor; 3] {
    let target = Target::new(network, NormStatistics::Running);
    let logits = network.logits(image).expect("logits");
    let gradient = input_gradient(&target, image, label, PixelObjective::Gain).expect("gradient").gradient;
    let mut random = stream(0, "precision", [0; 3]);
    let case = Case::new(&target, image, label).expect("a case");
    let crafted = FastNewton::default().perturb(&case, f64::INFINITY, &mut random).expect("an example");
    [logits, gradient, crafted.epsilon]
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os("ROBUSTSEG_GOLDENS")
        .map_or_else(|| folder.join("tests/goldens"), |goldens| folder.join(goldens));
    let entries = std::fs::read_dir(&folder).expect("golden cases");
    let folders = entries.map(|entry| entry.expect("a readable folder").path());
    folders.filter(|path| path.join("model.safetensors").exists()).collect()
}

#[test]
fn reduced_precision_stays_near() {
    if count() == 0 {
        eprintln!("no GPU here: not tested");
        return;
    }
    let device = open(0).expect("a GPU that can be opened");
    let cases = cases();
    assert!(!cases.is_empty());
    for case in cases {
        let mut network = Network::load(&case.join("model.safetensors"), &device).expect("a network");
        let tensors = candle_core::safetensors::load(case.join("case.safetensors"), &device).expect("a case");
        let (image, label) = (&tensors["image"], &tensors["label"]);
        let exact = outcome(&network, image, label);
        // TF32 has ten mantissa bits and bf16 seven, and bf16 also rounds activations.
        for (name, tf32, activations, bounds) in
            [("tf32", true, DType::F32, [2e-2, 0.3, 0.1]), ("bf16", false, DType::BF16, [0.15, 0.8, 0.2])]
        {
            let arithmetic = Arithmetic { tf32, ..Arithmetic::default() };
            network.set_precision(Precision { activations, arithmetic }).expect("a GPU has it");
            let found = outcome(&network, image, label);
            network.set_precision(Precision::default()).expect("every device has f32");
            let differences: Vec<f64> = found.iter().zip(&exact).map(|(a, b)| relative(a, b)).collect();
            println!(
                "{}, {name}: logits {:.1e}, gradient of the mean gain {:.1e}, epsilon of Fast Newton {:.1e}",
                case.file_name().unwrap_or_default().display(),
                differences[0],
                differences[1],
                differences[2]
            );
            for (difference, bound) in differences.iter().zip(bounds) {
                assert!(*difference <= bound, "{name}: {differences:?} of at most {bounds:?}");
                // The setting must have an effect.
                assert!(*difference > 1e-6, "{name}: {differences:?}");
            }
        }
    }
}
