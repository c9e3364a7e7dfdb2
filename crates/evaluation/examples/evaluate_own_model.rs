//! Evaluates a candle model of your own: robustness curves, worst cases and warnings.
//!
//! `cargo run -p robustseg-evaluation --example evaluate_own_model`

use candle_core::{DType, Device, Tensor};
use robustseg_attacks::{Bim, CurveConfig, Sea, channels_first};
use robustseg_evaluation::{EvaluationBatch, evaluate_model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Any differentiable function from images (N, 3, H, W) in [0, 1] to logits (N, K, h, w) will
    // do. The classes of this one are red, green and blue.
    let colours = Tensor::eye(3, DType::F32, &Device::Cpu)?.reshape((3, 3, 1, 1))?;
    let model = channels_first(move |image: &Tensor| (image.conv2d(&colours, 0, 1, 1, 1)? * 9.0)?.tanh());
    // Labels (N, H, W), where 255 means not labelled. Here the label is the colour itself.
    let batch = |number: usize| -> candle_core::Result<EvaluationBatch> {
        let image = Tensor::rand(0_f32, 1_f32, (2, 3, 24, 32), &Device::Cpu)?;
        let label = image.argmax(1)?.to_dtype(DType::U8)?;
        Ok(EvaluationBatch { ids: vec![format!("{number}a"), format!("{number}b")], image, label })
    };
    let batches = (0..3).map(batch).collect::<candle_core::Result<Vec<_>>>()?;

    let epsilons = vec![0.0, 0.01, 0.03];
    let curves = [
        CurveConfig::new(Bim { alpha: 0.004, steps: 10 }, epsilons.clone()),
        CurveConfig::new(Sea { steps: 30, ..Sea::default() }, epsilons),
    ];
    let (examples, seed) = (0, 0);
    let evaluation = evaluate_model(&model, 3, batches, &curves, examples, seed)?.evaluation;
    for curve in &evaluation.curves {
        let miou: Vec<f64> = curve.points.iter().map(|point| point.scores.miou).collect();
        println!("{:<5} mean IoU {miou:.4?}", curve.attack);
    }
    println!("warnings: {:#?}", evaluation.warnings);
    Ok(())
}
