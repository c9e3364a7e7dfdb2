//! SegFormer and UPerNet on ConvNeXt, compared with the library transformers in double precision.
//! `golden.py` made the cases.

mod bf16;
mod case;

use candle_core::Tensor;
use case::Case;
use robustseg_attacks::{PixelObjective, input_gradient};
use robustseg_evaluation::Target;
use robustseg_models::{Mode, NormStatistics};
use robustseg_ops::{Gradients, Tape, pixel_objective_mean};
use robustseg_random::stream;
use robustseg_training::{Basic, Optimiser, TrainingConfig};

/// The cases, and the height and width of their images.
const CASES: [(&str, [usize; 2]); 3] =
    [("segformer", [37, 45]), ("upernet_convnext", [69, 101]), ("upernet_convolutions", [69, 101])];
/// Of the image's gradient, the golden files have every fourth row.
const EVERY: usize = 4;
const GRADIENT: &str = "train.gradient.";
const AFTER: &str = "train.after_two_steps.";

/// The loss of a training step without dropout, with that of the auxiliary head where there is one.
/// The running statistics change.
fn loss(case: &Case) -> Tensor {
    let mut random = stream(0, "golden", [0; 3]);
    let mut mode = Mode::Training { dropout: 0.0, random: &mut random };
    let logits = case.network.forward_all(&case.image, &mut mode).expect("logits");
    let weights = [1.0, case.network.auxiliary_loss().unwrap_or(0.0)];
    let losses = logits.iter().zip(weights).map(|(logits, weight)| {
        let alignment = case.network.alignment();
        pixel_objective_mean(logits, &case.label, PixelObjective::CrossEntropy, alignment)? * weight
    });
    losses.reduce(|sum, loss| sum? + loss?).expect("a head").expect("loss")
}

fn gradients(case: &Case) -> Gradients {
    let tape = Tape::start();
    tape.backward(&loss(case)).expect("gradients")
}

#[test]
fn logits_and_the_gradient_of_the_image_are_those_of_pytorch() {
    for case in CASES.map(Case::load) {
        let logits = case.network.forward(&case.image, &mut Mode::Evaluation).expect("logits");
        case.compare_outside("logits", &logits);
        let target = Target::new(&case.network, NormStatistics::Running);
        let ours = input_gradient(&target, &case.image, &case.label, PixelObjective::CrossEntropy);
        let ours = ours.expect("gradient");
        case.compare("cross_entropy", &ours.value);
        let rows = Tensor::arange_step(0, case.image.dims()[2] as u32, EVERY as u32, case.image.device());
        let gradient = ours.gradient.index_select(&rows.expect("rows"), 2).expect("every fourth row");
        case.compare("cross_entropy_input_gradient", &gradient);
    }
}

#[test]
fn the_loss_of_training_and_the_gradients_of_weights_are_those_of_pytorch() {
    for case in CASES.map(Case::load) {
        let tape = Tape::start();
        let loss = loss(&case);
        case.compare("train.loss", &loss);
        let gradients = tape.backward(&loss).expect("gradients");
        let compared = case.compare_named(GRADIENT, |name| {
            let parameter = case.network.parameters().get(name)?;
            gradients.get(parameter.var.as_tensor()).cloned()
        });
        assert!(compared > 10, "{}: {compared} gradients", case.name);
    }
}

/// SGD with rate 0.01, momentum 0.9 and decay 1e-4 on all parameters, twice on the same batch.
#[test]
fn two_steps_of_training_end_where_those_of_pytorch_do() {
    let mut config = TrainingConfig::new(Basic {}, 1);
    config.momentum = 0.9;
    config.weight_decay = 1e-4;
    config.decay_norm_and_bias = true;
    config.head_learning_rate_factor = 1.0;
    for case in CASES.map(Case::load) {
        let optimiser = Optimiser::new(&case.network, &config).expect("optimiser");
        for update in 1..=2 {
            optimiser.step(&case.network, &gradients(&case), 0.01, update).expect("step");
        }
        let compared = case
            .compare_named(AFTER, |name| Some(case.network.parameters().get(name)?.var.as_detached_tensor()));
        assert!(compared > 10, "{}: {compared} variables", case.name);
    }
}
