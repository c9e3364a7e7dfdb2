//! The effect of reduced precision: logits, gradients and Fast Newton's epsilon of the golden
//! networks in bf16, and on a GPU in TF32, compared with f32. The tolerances are stated here, and
//! the differences are printed.

use candle_core::{DType, Device, Tensor};
use robustseg_attacks::{Attack, Case, FastNewton, PixelObjective, input_gradient};
use robustseg_evaluation::Target;
use robustseg_models::{Network, NormStatistics, Precision};
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

/// The largest relative deviations of logits, gradient and epsilon that a precision may have.
type Bounds = [f64; 3];

/// Compares each precision with f32 on every golden network.
fn compare(device: &Device, precisions: &[(&str, Precision, Bounds)]) {
    let cases = cases();
    assert!(!cases.is_empty());
    for case in cases {
        let mut network = Network::load(&case.join("model.safetensors"), device).expect("a network");
        let tensors = candle_core::safetensors::load(case.join("case.safetensors"), device).expect("a case");
        let (image, label) = (&tensors["image"], &tensors["label"]);
        let exact = outcome(&network, image, label);
        for (name, precision, bounds) in precisions {
            network.set_precision(*precision).expect("a precision of the device");
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
                assert!(difference <= bound, "{name}: {differences:?} of at most {bounds:?}");
                // The setting must have an effect.
                assert!(*difference > 1e-6, "{name}: {differences:?}");
            }
        }
    }
}

fn bf16() -> Precision {
    Precision { activations: DType::BF16, ..Precision::default() }
}

#[test]
fn bf16_stays_near_f32_on_the_cpu() {
    compare(&Device::Cpu, &[("bf16", bf16(), [0.15, 0.8, 0.2])]);
}

#[cfg(feature = "cuda")]
#[test]
fn reduced_precision_stays_near_f32_on_a_gpu() {
    use robustseg_ops::cuda::{count, open};
    use robustseg_ops::{Arithmetic, Factors};
    if count() == 0 {
        eprintln!("no GPU here: not tested");
        return;
    }
    let device = open(0).expect("a GPU that can be opened");
    let arithmetic = Arithmetic { factors: Factors::Tf32, ..Arithmetic::default() };
    let tf32 = Precision { arithmetic, ..Precision::default() };
    // TF32 has ten mantissa bits and bf16 seven, and bf16 also rounds activations.
    compare(&device, &[("tf32", tf32, [2e-2, 0.3, 0.1]), ("bf16", bf16(), [0.15, 0.8, 0.2])]);
}
