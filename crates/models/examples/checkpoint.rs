//! A network, its checkpoint and its logits: `checkpoint [FILE]` loads the file, or makes a small
//! network.
//!
//! `cargo run -p robustseg-models --example checkpoint`

use candle_core::{Device, Tensor};
use robustseg_models::{Mode, Network, NetworkConfig, PspNetConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = &Device::Cpu;
    let folder = std::env::temp_dir().join("robustseg-example.safetensors");
    let path = if let Some(file) = std::env::args().nth(1) {
        file.into()
    } else {
        let config =
            NetworkConfig::new(PspNetConfig { layers: [1, 1, 1, 1], width: 8, ..PspNetConfig::default() }, 5);
        Network::new(&config, 0, device)?.save(&folder)?;
        folder
    };
    let network = Network::load(&path, device)?; // the file describes itself
    let config = network.config();
    println!("{}: {} classes, {:?}", path.display(), config.num_classes, config.architecture);
    let cost = network.outline().multiply_adds(96, 128);
    println!("{:.2e} multiply-adds for an image of 96 x 128", cost as f64);

    let image = Tensor::rand(0_f32, 1_f32, (1, 3, 96, 128), device)?; // in [0, 1]; normalised inside
    let small = network.forward(&image, &mut Mode::Evaluation)?;
    println!("logits {:?}, at the image's size {:?}", small.dims(), network.logits(&image)?.dims());
    Ok(())
}
