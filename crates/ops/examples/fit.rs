//! A convolution that learns to tell bright from dark, from logits at half the labels' size.
//!
//! `cargo run -p robustseg-ops --example fit`

use candle_core::{Device, Result, Tensor, Var};
use robustseg_ops::{
    Alignment, Arithmetic, Conv2dConfig, PixelObjective, SgdConfig, SgdUpdate, add_bias, conv2d,
    pixel_objective_mean, sgd_step,
};

fn main() -> Result<()> {
    let device = &Device::Cpu;
    let image = Tensor::rand(0_f32, 1_f32, (4, 8, 8, 3), device)?; // channels last
    let label = image.mean(3)?.ge(0.5)?;
    let (weight, bias) =
        (Var::zeros((2, 1, 1, 3), image.dtype(), device)?, Var::zeros(2, image.dtype(), device)?);
    let velocities = [Var::from_tensor(&weight.zeros_like()?)?, Var::from_tensor(&bias.zeros_like()?)?];
    for step in 0..200 {
        let product = conv2d(&image, &weight, Conv2dConfig::default(), Arithmetic::default())?;
        let logits = add_bias(&product, &bias)?;
        let loss = pixel_objective_mean(&logits, &label, PixelObjective::CrossEntropy, Alignment::HalfPixel)?;
        let gradients = loss.backward()?;
        let config = SgdConfig { learning_rate: 0.5, momentum: 0.9, weight_decay: 0.0, nesterov: false };
        let updates = [&weight, &bias].into_iter().zip(&velocities).map(|(parameter, velocity)| {
            let gradient = gradients.get(parameter).expect("it takes part in the loss");
            SgdUpdate { parameter, gradient, velocity, config }
        });
        sgd_step(&updates.collect::<Vec<_>>())?;
        if step % 50 == 49 {
            println!("step {}: cross-entropy {:.4}", step + 1, loss.to_scalar::<f32>()?);
        }
    }
    Ok(())
}
