//! The network's output for the clean images, and its gradients.

use crate::case::{Case, cases, values};
use crate::faults::Faults;
use candle_core::{Device, Tensor};
use robustseg_attacks::{PixelObjective, input_gradient};
use robustseg_evaluation::Target;
use robustseg_metrics::ConfusionMatrix;
use robustseg_models::{Mode, NormStatistics};
use robustseg_ops::{Alignment, predict, upsample_bilinear};

pub(crate) const NAMES: [&str; 8] = [
    "logits",
    "prediction",
    "confusion",
    "iou",
    "cross_entropy",
    "cross_entropy_input_gradient",
    "mean_gain",
    "mean_gain_input_gradient",
];

/// Height and width of the images.
fn size(case: &Case) -> (usize, usize) {
    let (_, height, width) = case.label.dims3().expect("labels (N, H, W)");
    (height, width)
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("a tensor of bytes")
}

/// The counts of `prediction` against the case's labels.
fn confusion(case: &Case, prediction: &Tensor) -> ConfusionMatrix {
    let mut matrix = ConfusionMatrix::new(case.network.config().num_classes);
    matrix.update(&bytes(prediction), &bytes(&case.label)).expect("labels and predictions are classes");
    matrix
}

/// The IoU of each class in f32, as stored in cases. NaN for a class that never occurs.
fn iou(matrix: &ConfusionMatrix) -> Vec<f32> {
    matrix.iou().into_iter().map(|iou| iou.map_or(f32::NAN, |iou| iou as f32)).collect()
}

#[test]
fn logits() {
    let mut faults = Faults::default();
    for case in cases() {
        let ours = case.network.logits(&case.image).expect("logits");
        faults.compare(&case, "logits", &ours);
    }
    faults.finish();
}

/// Predictions, counts and IoU follow exactly from the golden logits.
#[test]
fn counts_follow_from_the_logits() {
    let mut faults = Faults::default();
    for case in cases() {
        let (height, width) = size(&case);
        let logits = case.golden("logits").permute((0, 2, 3, 1)).expect("logits (N, K, H, W)");
        let prediction = predict(&logits, height, width, Alignment::HalfPixel).expect("prediction");
        let matrix = confusion(&case, &prediction);
        let counts: Vec<f64> = matrix.counts().iter().map(|count| *count as f64).collect();
        let golden_iou = values(case.golden("iou")).into_iter().map(|iou| iou as f32);
        let same_iou =
            iou(&matrix).into_iter().zip(golden_iou).all(|(a, b)| a == b || a.is_nan() && b.is_nan());
        for (name, same) in [
            ("prediction", bytes(&prediction) == bytes(case.golden("prediction"))),
            ("confusion", counts == values(case.golden("confusion"))),
            ("iou", same_iou),
        ] {
            faults.check(same, || format!("{}: {name} is not what the golden logits give", case.name));
        }
    }
    faults.finish();
}

/// Small logits, upsampled and compared in one pass, give the same predictions as our full-size
/// logits, which match the golden ones.
#[test]
fn predictions() {
    let mut faults = Faults::default();
    for case in cases() {
        let (height, width) = size(&case);
        let small = case.network.forward(&case.image, &mut Mode::Evaluation).expect("logits");
        let alignment = case.network.alignment();
        let prediction = predict(&small, height, width, alignment).expect("prediction");
        let full = upsample_bilinear(&small, height, width, alignment).expect("logits");
        let same = bytes(&prediction) == bytes(&largest(&full));
        faults.check(same, || format!("{}: predict is not the largest of the logits", case.name));
        faults.compare(&case, "prediction", &prediction);
        let matrix = confusion(&case, &prediction);
        let classes = matrix.num_classes();
        let counts = matrix.counts().iter().map(|count| *count as i64).collect();
        let counts = Tensor::from_vec::<_, i64>(counts, (classes, classes), &Device::Cpu).expect("K x K");
        faults.compare(&case, "confusion", &counts);
        faults.compare(&case, "iou", &Tensor::from_vec(iou(&matrix), classes, &Device::Cpu).expect("K"));
    }
    faults.finish();
}

/// The index of the first largest logit (N, H, W, K) at every pixel.
fn largest(logits: &Tensor) -> Tensor {
    let (images, height, width, classes) = logits.dims4().expect("logits (N, H, W, K)");
    let values = values(logits);
    let first = |pixel: &[f64]| (0..classes).rev().max_by(|a, b| pixel[*a].total_cmp(&pixel[*b]));
    let classes = values.chunks_exact(classes).map(|pixel| first(pixel).expect("a class") as u8).collect();
    Tensor::from_vec::<_, u8>(classes, (images, height, width), &Device::Cpu).expect("a class a pixel")
}

#[test]
fn objectives_and_their_gradients() {
    let mut faults = Faults::default();
    for case in cases() {
        let target = Target::new(&case.network, NormStatistics::Running);
        for (name, objective) in
            [("cross_entropy", PixelObjective::CrossEntropy), ("mean_gain", PixelObjective::Gain)]
        {
            let ours = input_gradient(&target, &case.image, &case.label, objective).expect("gradient");
            faults.compare(&case, name, &ours.value);
            faults.compare(&case, &format!("{name}_input_gradient"), &ours.gradient);
        }
    }
    faults.finish();
}
