//! Runs every attack on a candle model of your own and prints the cross-entropy it reaches and its
//! cost.
//!
//! `cargo run -p robustseg-attacks --example attack_own_model`

use candle_core::{DType, Device, Tensor};
use robustseg_attacks::{Case, Counted, PixelObjective, attacks, channels_first, input_gradient};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Any differentiable function from images (N, 3, H, W) in [0, 1] to logits (N, K, h, w) will
    // do. The classes of this one are red, green and blue.
    let colours = Tensor::eye(3, DType::F32, &Device::Cpu)?.reshape((3, 3, 1, 1))?;
    let model = channels_first(move |image: &Tensor| (image.conv2d(&colours, 0, 1, 1, 1)? * 9.0)?.tanh());
    let model = Counted::new(&model);
    let image = Tensor::rand(0_f32, 1_f32, (2, 3, 24, 32), &Device::Cpu)?;
    let label = image.argmax(1)?.to_dtype(DType::U8)?; // 255 would mean: not labelled

    let case = Case::new(&model, &image, &label)?;
    for attack in attacks() {
        let random = &mut robustseg_random::stream(0, "example", [0; 3]);
        let adversarial = attack.perturb(&case, 0.03, random)?.image;
        let cost = model.take();
        let found = input_gradient(&model, &adversarial, &label, PixelObjective::CrossEntropy)?.value;
        model.take();
        println!("{:<12} cross-entropy {:.4?}, {cost:?}", attack.name(), found.to_vec1::<f32>()?);
    }
    Ok(())
}
