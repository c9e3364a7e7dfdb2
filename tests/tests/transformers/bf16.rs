//! The networks with activations of bf16, which rounds to eight bits.

use candle_core::DType;
use robustseg_models::{Mode, Precision};

use crate::case::{Case, outside};
use crate::{CASES, GRADIENT, gradients};

/// Logits, and the gradients of all weights together, stay near those of PyTorch in double precision.
#[test]
fn bf16_stays_near_f32() {
    for mut case in CASES[..2].iter().copied().map(Case::load) {
        let bf16 = Precision { activations: DType::BF16, ..Precision::default() };
        case.network.set_precision(bf16).expect("a precision of the device");
        let logits = case.network.forward(&case.image, &mut Mode::Evaluation).expect("logits");
        let [difference, norm] = case.distance("logits", &outside(&logits));
        let logits = difference / norm;
        let ours = gradients(&case);
        let (mut differences, mut norms) = (0.0, 0.0);
        for (name, parameter) in case.named(GRADIENT) {
            let parameter = &case.network.parameters()[parameter];
            let gradient = ours.get(parameter.var.as_tensor()).expect("a gradient");
            let [difference, norm] = case.distance(name, &outside(gradient));
            (differences, norms) = (differences + difference.powi(2), norms + norm.powi(2));
        }
        let weights = (differences / norms).sqrt();
        println!("{}, bf16: logits {logits:.1e}, gradients of weights {weights:.1e}", case.name);
        // The setting must have an effect. A gradient passes the masks of the head's `ReLU`s, which small
        // changes flip.
        assert!(logits > 1e-4 && logits < 0.05, "{}: {logits}", case.name);
        assert!(weights > 1e-4 && weights < 0.5, "{}: {weights}", case.name);
    }
}
