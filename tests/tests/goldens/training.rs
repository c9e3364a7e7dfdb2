//! Training mode: logits, loss, every parameter's gradient, and all parameters after two steps.

use crate::case::{Case, cases, channels_first};
use crate::faults::Faults;
use candle_core::Tensor;
use robustseg_models::Mode;
use robustseg_ops::{Gradients, PixelObjective, Tape, pixel_objective_mean, upsample_bilinear};
use robustseg_random::stream;
use robustseg_training::{Basic, Optimiser, TrainingConfig};

const GRADIENT: &str = "train.gradient.";
const AFTER: &str = "train.after_two_steps.";

/// Whether `name` belongs to this family.
pub(crate) fn is_known(name: &str) -> bool {
    ["train.logits", "train.loss"].contains(&name) || name.starts_with(GRADIENT) || name.starts_with(AFTER)
}

/// Small logits and loss of a training step without dropout. The running statistics change.
fn forward(case: &Case) -> (Tensor, Tensor) {
    let mut random = stream(0, "golden", [0; 3]);
    let mut pass = Mode::Training { dropout: 0.0, random: &mut random };
    let logits = case.network.forward(&case.image, &mut pass).expect("logits");
    let alignment = case.network.alignment();
    let loss = pixel_objective_mean(&logits, &case.label, PixelObjective::CrossEntropy, alignment);
    (logits, loss.expect("loss"))
}

fn gradients(case: &Case) -> Gradients {
    let tape = Tape::start();
    tape.backward(&forward(case).1).expect("gradients")
}

/// In PyTorch's layout: convolution weights (O, I, KH, KW).
fn outside(tensor: &Tensor) -> Tensor {
    if tensor.rank() == 4 { channels_first(tensor) } else { tensor.clone() }
}

/// Compares each golden tensor named `prefix` plus a parameter's name with the result of `ours` for
/// that parameter.
fn compare_named(faults: &mut Faults, case: &Case, prefix: &str, ours: impl Fn(&str) -> Option<Tensor>) {
    for name in case.names() {
        let Some(parameter) = name.strip_prefix(prefix) else { continue };
        match ours(parameter) {
            Some(ours) => faults.compare(case, name, &outside(&ours)),
            None => faults.check(false, || format!("{}: {name}: we have none", case.name)),
        }
    }
}

#[test]
fn logits_and_loss() {
    let mut faults = Faults::default();
    for case in cases() {
        let (small, loss) = forward(&case);
        let (_, height, width) = case.label.dims3().expect("labels (N, H, W)");
        let full = upsample_bilinear(&small, height, width, case.network.alignment()).expect("logits");
        faults.compare(&case, "train.logits", &channels_first(&full));
        faults.compare(&case, "train.loss", &loss);
    }
    faults.finish();
}

#[test]
fn weight_gradients() {
    let mut faults = Faults::default();
    for case in cases() {
        let gradients = gradients(&case);
        compare_named(&mut faults, &case, GRADIENT, |name| {
            let parameter = case.network.parameters().get(name)?;
            gradients.get(parameter.var.as_tensor()).cloned()
        });
    }
    faults.finish();
}

/// SGD with rate 0.01, momentum 0.9 and decay 1e-4 on all parameters, twice on the same batch.
/// Running statistics are compared too.
#[test]
fn two_steps() {
    let mut faults = Faults::default();
    let mut config = TrainingConfig::new(Basic {}, 1);
    config.momentum = 0.9;
    config.weight_decay = 1e-4;
    config.decay_norm_and_bias = true;
    config.head_learning_rate_factor = 1.0;
    for case in cases() {
        let optimiser = Optimiser::new(&case.network, &config).expect("optimiser");
        for update in 1..=2 {
            optimiser.step(&case.network, &gradients(&case), 0.01, update).expect("step");
        }
        compare_named(&mut faults, &case, AFTER, |name| {
            Some(case.network.parameters().get(name)?.var.as_detached_tensor())
        });
    }
    faults.finish();
}
