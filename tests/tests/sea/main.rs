//! APGD, and SEA's objectives and examples, compared with PyTorch in double precision. `golden.py`
//! made the case.

use candle_core::{Device, Tensor};
use robustseg_attacks::{Apgd, Attack, Case, Model, PixelObjective, Sea, channels_first, input_gradient};
use robustseg_evaluation::Target;
use robustseg_models::{Network, NormStatistics};
use robustseg_random::stream;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

type Tensors = HashMap<String, Tensor>;

const OBJECTIVES: [(&str, PixelObjective); 3] = [
    ("masked_cross_entropy", PixelObjective::MaskedCrossEntropy),
    ("balanced_masked_cross_entropy", PixelObjective::BalancedMaskedCrossEntropy),
    ("jensen_shannon", PixelObjective::JensenShannon),
];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn load(name: &str) -> Tensors {
    candle_core::safetensors::load(file(name), &Device::Cpu).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The golden tensors, and the error of PyTorch's own f32 for each.
fn golden() -> (Tensors, Value) {
    let errors = std::fs::read(file("tests/sea/f32_error.json")).expect("the recorded errors");
    (load("tests/sea/golden.safetensors"), serde_json::from_slice(&errors).expect("JSON"))
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32")
}

/// The norm of the difference over the norm.
fn relative_l2(ours: &Tensor, golden: &Tensor) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let (ours, golden) = (values(ours), values(golden));
    let mut difference = ours.iter().zip(&golden).map(|(a, b)| f64::from(*a) - f64::from(*b));
    norm(&mut difference) / norm(&mut golden.iter().map(|value| f64::from(*value)))
}

/// Share of elements that differ by more than 1e-4.
fn differing_fraction(ours: &Tensor, golden: &Tensor) -> f64 {
    let (ours, golden) = (values(ours), values(golden));
    assert_eq!(ours.len(), golden.len());
    let differing = ours.iter().zip(&golden).filter(|(a, b)| (*a - *b).abs() > 1e-4).count();
    differing as f64 / ours.len() as f64
}

#[test]
fn objectives_and_their_gradients_on_a_network() {
    let (golden, errors) = golden();
    let case = load("goldens/positive_gain/case.safetensors");
    let network =
        Network::load(&file("goldens/positive_gain/model.safetensors"), &Device::Cpu).expect("network");
    let target = Target::new(&network, NormStatistics::Running);
    for (name, objective) in OBJECTIVES {
        let ours = input_gradient(&target, &case["image"], &case["label"], objective).expect("gradient");
        let gradient = ours.gradient.narrow(0, 0, 2).expect("two images");
        for (name, ours) in [(name.to_owned(), ours.value), (format!("{name}_input_gradient"), gradient)] {
            let bound = 1e-4 + 10.0 * errors[&name]["relative_l2"].as_f64().expect("a recorded error");
            let found = relative_l2(&ours, &golden[&name]);
            assert!(found <= bound, "{name}: relative L2 {found:.2e}, at most {bound:.2e}");
        }
    }
}

/// Logits at half the size: a tanh layer on means of 2x2 pixels.
fn smooth(golden: &Tensors) -> impl Model {
    let (first, second) = (golden["first"].clone(), golden["second"].clone());
    channels_first(move |image: &Tensor| {
        let (n, _, h, w) = image.dims4()?;
        let means = (image.avg_pool2d(2)?.permute((0, 2, 3, 1))?.reshape((n * h * w / 4, 3))? - 0.5)?;
        let logits = means.matmul(&first)?.tanh()?.matmul(&second)?;
        logits.reshape((n, h / 2, w / 2, ()))?.permute((0, 3, 1, 2))
    })
}

#[test]
fn whole_climbs_on_a_smooth_model() {
    let (golden, errors) = golden();
    let model = smooth(&golden);
    let (image, label) = (&golden["image"], &golden["label"]);
    let unused = &mut stream(0, "unused", [0; 3]);
    let case = Case::new(&model, image, label).expect("a case");
    let (epsilon, random_start) = (0.03, false);
    let apgd =
        Apgd { steps: 20, random_start, ..Apgd::default() }.perturb(&case, epsilon, unused).expect("APGD");
    let sea = Sea { steps: 30, random_start, ..Sea::default() };
    let sea = sea.examples(&case, &[epsilon], unused).expect("SEA").swap_remove(0);
    let names = OBJECTIVES.map(|(name, _)| format!("sea_{name}_0.03_30"));
    let sea = sea.into_iter().map(|example| example.image);
    let found = names.into_iter().zip(sea).chain([("apgd_0.03_20".to_owned(), apgd.image)]);
    for (name, ours) in found {
        let bound = 0.002 + 2.0 * errors[&name]["differing_fraction"].as_f64().expect("a recorded error");
        let differing = differing_fraction(&ours, &golden[&name]);
        assert!(differing <= bound, "{name}: differing fraction {differing:.2e}, at most {bound:.2e}");
    }
}
