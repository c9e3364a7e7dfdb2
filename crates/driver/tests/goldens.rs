//! `robustseg attack --input` on the golden cases: users get what PyTorch computed.

mod common;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use common::run_in;
use serde_json::Value;

/// Tensors of a case, the arguments that produce them, and whether several gradient signs are
/// involved.
const ATTACKS: [(&str, &[&str], bool); 6] = [
    ("fgsm_0.03", &["--method", "fgsm", "--epsilon", "0.03"], false),
    ("fast_newton", &["--method", "fast_newton"], false),
    ("bim_0.03_0.01_3", &["--method", "bim", "--epsilon", "0.03", "--alpha", "0.01", "--steps", "3"], true),
    (
        "bim_0.04_0.004_10",
        &["--method", "bim", "--epsilon", "0.04", "--alpha", "0.004", "--steps", "10"],
        true,
    ),
    (
        "segpgd_0.03_0.01_5",
        &["--method", "segpgd", "--epsilon", "0.03", "--alpha", "0.01", "--steps", "5"],
        true,
    ),
    (
        "cospgd_0.03_0.01_5",
        &["--method", "cospgd", "--epsilon", "0.03", "--alpha", "0.01", "--steps", "5"],
        true,
    ),
];

fn cases() -> Vec<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("ROBUSTSEG_GOLDENS");
    let folder = workspace.join(folder.map_or("tests/goldens".into(), PathBuf::from));
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let cases: Vec<_> = entries.filter(|path| path.join("case.safetensors").is_file()).collect();
    assert!(!cases.is_empty(), "{} holds no case", folder.display());
    cases
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Share of elements that differ by more than 1e-4.
fn differing_fraction(ours: &[f64], golden: &[f64]) -> f64 {
    let same = ours.iter().zip(golden).filter(|(a, b)| (*a - *b).abs() <= 1e-4).count();
    1.0 - same as f64 / golden.len() as f64
}

fn relative_l2(ours: &[f64], golden: &[f64]) -> f64 {
    let difference: f64 = ours.iter().zip(golden).map(|(a, b)| (a - b).powi(2)).sum();
    (difference / golden.iter().map(|b| b * b).sum::<f64>()).sqrt()
}

#[test]
fn attacks_of_the_command_line_are_the_golden_ones() {
    for case in cases() {
        let golden = candle_core::safetensors::load(case.join("case.safetensors"), &Device::Cpu).unwrap();
        let errors = std::fs::read(case.join("f32_error.json")).unwrap();
        let errors: Value = serde_json::from_slice(&errors).unwrap();
        let recorded = |name: &str, kind: &str| errors[name][kind].as_f64().unwrap();
        let path = |name: &str| case.join(name).display().to_string();
        let (model, input) = (path("model.safetensors"), path("case.safetensors"));
        for (name, arguments, iterated) in ATTACKS {
            let folder = tempfile::tempdir().unwrap();
            let place = ["attack", "--checkpoint", &model, "--input", &input, "--out", "out"];
            let output = run_in(folder.path(), &[&place[..], arguments].concat());
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let file = folder.path().join("out/adversarial.safetensors");
            let ours = candle_core::safetensors::load(file, &Device::Cpu).unwrap();

            let found = differing_fraction(&values(&ours["adversarial"]), &values(&golden[name]));
            let recorded_fraction = recorded(name, "differing_fraction");
            let bound =
                if iterated { 0.02 + 3.0 * recorded_fraction } else { 0.005 + 2.0 * recorded_fraction };
            assert!(found <= bound, "{} {name}: {found} of the elements are off", case.display());
            let found = relative_l2(&values(&ours["logits_clean"]), &values(&golden["logits"]));
            assert!(
                found <= 1e-4 + 10.0 * recorded("logits", "relative_l2"),
                "{name}: logits off by {found}"
            );
            if name == "fast_newton" {
                let found = relative_l2(&values(&ours["epsilon"]), &values(&golden["fast_newton_epsilon"]));
                let bound = 1e-4 + 10.0 * recorded("fast_newton_epsilon", "relative_l2");
                assert!(found <= bound, "{}: epsilon off by {found}", case.display());
            }
        }
    }
}
