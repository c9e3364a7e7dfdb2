//! Attacks on a smooth model compared with PyTorch in double precision. `golden.py` made the case.

use candle_core::{Device, Tensor};
use robustseg_attacks::{
    AdamObjective, AlmaProx, Apgd, Attack, Case, CosPgd, Model, Norm, Padam, PixelObjective, Sea, SegFgsm,
    SegPgd, Start, TsallisApgd, TsallisPgd, channels_first, input_gradient,
};
use robustseg_random::stream;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

type Tensors = HashMap<String, Tensor>;

const EPSILON: f64 = 0.03;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn load(name: &str) -> Tensors {
    candle_core::safetensors::load(file(name), &Device::Cpu).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor
        .flatten_all()
        .and_then(|flat| flat.to_vec1::<f32>())
        .expect("f32")
        .into_iter()
        .map(f64::from)
        .collect()
}

/// The golden tensors, the error of PyTorch's own f32 for each, and the scene, of which the first
/// image is attacked.
struct Golden {
    tensors: Tensors,
    errors: Value,
    scene: Tensors,
}

impl Golden {
    fn new() -> Self {
        let errors = std::fs::read(file("smooth/f32_error.json")).expect("the recorded errors");
        let errors = serde_json::from_slice(&errors).expect("JSON");
        Self { tensors: load("smooth/golden.safetensors"), errors, scene: load("sea/golden.safetensors") }
    }

    fn first(&self, name: &str) -> Tensor {
        self.scene[name].narrow(0, 0, 1).expect("three images")
    }

    /// Logits at half the size: a tanh layer on means of 2x2 pixels.
    fn model(&self) -> impl Model {
        let (first, second) = (self.scene["first"].clone(), self.scene["second"].clone());
        channels_first(move |image: &Tensor| {
            let (n, _, h, w) = image.dims4()?;
            let means = image.avg_pool2d(2)?.permute((0, 2, 3, 1))?.reshape((n * h * w / 4, 3))?;
            let logits = (means - 0.5)?.matmul(&first)?.tanh()?.matmul(&second)?;
            logits.reshape((n, h / 2, w / 2, ()))?.permute((0, 3, 1, 2))
        })
    }

    /// Requires that the norm of the difference relative to the golden norm stays within the bound.
    fn close(&self, name: &str, ours: &Tensor) {
        let (ours, golden) = (values(ours), values(&self.tensors[name]));
        let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
        let difference: Vec<f64> = ours.iter().zip(&golden).map(|(a, b)| a - b).collect();
        let found = norm(&difference) / norm(&golden);
        let bound = 1e-4 + 10.0 * self.errors[name]["relative_l2"].as_f64().expect("a recorded error");
        assert!(found <= bound, "{name}: relative L2 {found:.2e}, at most {bound:.2e}");
    }

    /// Requires that the share of elements that differ by more than 1e-4 stays within the bound.
    fn same(&self, name: &str, ours: &Tensor) {
        let (ours, golden) = (values(ours), values(&self.tensors[name]));
        assert_eq!(ours.len(), golden.len());
        let differing = ours.iter().zip(&golden).filter(|(a, b)| (*a - *b).abs() > 1e-4).count();
        let found = differing as f64 / ours.len() as f64;
        let bound = 0.002 + 2.0 * self.errors[name]["differing_fraction"].as_f64().expect("a recorded error");
        assert!(found <= bound, "{name}: differing fraction {found:.2e}, at most {bound:.2e}");
    }
}

#[test]
fn tsallis_cross_entropy_and_its_gradient() {
    let golden = Golden::new();
    let (model, image, label) = (golden.model(), golden.first("image"), golden.first("label"));
    for q in [-2.0_f32, 0.5] {
        let ours = input_gradient(&model, &image, &label, PixelObjective::Tsallis { q }).expect("gradient");
        golden.close(&format!("tsallis_{q}"), &ours.value);
        golden.close(&format!("tsallis_{q}_input_gradient"), &ours.gradient);
    }
}

#[test]
fn attacks_on_a_smooth_model() {
    let golden = Golden::new();
    let (model, image, label) = (golden.model(), golden.first("image"), golden.first("label"));
    let case = Case::new(&model, &image, &label).expect("a case");
    let adam = |objective| Padam { steps: 12, objective, ..Padam::default() };
    let sign = TsallisPgd { alpha: 0.01, steps: 7, start: Start::Image, ..TsallisPgd::default() };
    let attacks: [(&str, &dyn Attack); 5] = [
        ("segfgsm", &SegFgsm {}),
        ("tsallis_pgd", &sign),
        ("tsallis_apgd", &TsallisApgd { steps: 30, random_start: false, ..TsallisApgd::default() }),
        ("padam_cross_entropy", &adam(AdamObjective::CrossEntropy)),
        ("padam_cospgd", &adam(AdamObjective::Cospgd)),
    ];
    for (name, attack) in attacks {
        let ours = attack.perturb(&case, EPSILON, &mut stream(0, "unused", [0; 3])).expect(name);
        golden.same(name, &ours.image);
    }
}

#[test]
fn sea_with_the_weights_of_a_dataset_and_on_the_cross_entropy() {
    let golden = Golden::new();
    let (model, image, label) = (golden.model(), golden.first("image"), golden.first("label"));
    // The set that `golden.py` names.
    let case =
        Case::new(&model, &image, &label).expect("a case").with_class_pixels(&[9000, 400, 0, 2500, 70]);
    let sea = Sea { steps: 30, random_start: false, dataset_weights: true, cross_entropy: true };
    let unused = &mut stream(0, "unused", [0; 3]);
    let found = sea.examples(&case, &[EPSILON], unused).expect("four examples").swap_remove(0);
    golden.same("sea_of_set", &found[1].image);
    golden.same("sea_cross_entropy", &found[3].image);
}

#[test]
fn alma_prox_on_a_smooth_model() {
    let golden = Golden::new();
    let (model, image, label) = (golden.model(), golden.first("image"), golden.first("label"));
    let case = Case::new(&model, &image, &label).expect("a case");
    let alma = AlmaProx { alpha: 0.01, steps: 40, wrong: 0.5 };
    let ours = alma.perturb(&case, f64::INFINITY, &mut stream(0, "unused", [0; 3])).expect("ALMA prox");
    golden.same("alma_prox", &ours.image);
}

#[test]
fn attacks_in_l2_balls() {
    let golden = Golden::new();
    let (model, image, label) = (golden.model(), golden.first("image"), golden.first("label"));
    let case = Case::new(&model, &image, &label).expect("a case");
    let (alpha, start, norm) = (0.5, Start::Image, Norm::L2);
    let attacks: [(&str, &dyn Attack); 3] = [
        ("segpgd_l2", &SegPgd { alpha, steps: 7, start, norm }),
        ("cospgd_l2", &CosPgd { alpha, steps: 7, start, norm }),
        ("apgd_l2", &Apgd { steps: 20, random_start: false, norm }),
    ];
    for (name, attack) in attacks {
        let ours = attack.perturb(&case, 2.0, &mut stream(0, "unused", [0; 3])).expect(name);
        golden.same(name, &ours.image);
    }
}
