//! A network, its checkpoint, and what it sees: `checkpoint [FILE]` loads the file, or makes a small network.
//!
//! `cargo run -p robustseg-models --example checkpoint`

use candle_core::{Device, Tensor};
use robustseg_models::{Pass, PspNet, PspNetConfig, multiply_adds};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = &Device::Cpu;
    let folder = std::env::temp_dir().join("robustseg-example.safetensors");
    let path = if let Some(file) = std::env::args().nth(1) {
        file.into()
    } else {
        let config = PspNetConfig { layers: [1, 1, 1, 1], width: 8, ..PspNetConfig::pspnet50(5) };
        PspNet::new(&config, 0, device)?.save(&folder)?;
        folder
    };
    let network = PspNet::load(&path, device)?; // the file describes itself
    let config = network.config();
    println!("{}: {} classes, layers {:?}", path.display(), config.num_classes, config.layers);
    println!("{:.2e} multiply-adds for an image of 96 x 128", multiply_adds(config, 96, 128)? as f64);

    let image = Tensor::rand(0_f32, 1_f32, (1, 3, 96, 128), device)?; // in [0, 1]; normalised inside
    let small = network.forward(&image, &mut Pass::Evaluation)?;
    println!("logits {:?}, at the image's size {:?}", small.dims(), network.logits(&image)?.dims());
    Ok(())
}
