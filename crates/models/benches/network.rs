//! Seconds of a whole network: forward pass, attack gradient, training step without the optimiser;
//! the three in turn, medians. NETWORK is a name of the registry, whose default is timed, or a
//! network as specs have it. ACTIVATIONS is `f32` or `bf16`.
//!
//!     cargo bench -p robustseg-models --bench network -- [SIZE [BATCH [ROUNDS [NETWORK [ACTIVATIONS]]]]]
//!     cargo bench -p robustseg-models --bench network -- 512 1 5 '{"upernet": {"size": "small"}}'

use candle_core::{DType, Device, Result, Tensor, Var};
use robustseg_models::{Mode, Network, NetworkSpec, Precision};
use robustseg_ops::{PixelObjective, Tape, pixel_objective_mean};
use robustseg_random::stream;
use std::time::Instant;

const CLASSES: usize = 21;

type Work<'a> = Box<dyn Fn() -> Result<()> + 'a>;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    robustseg_ops::keep_freed_memory();
    // Cargo passes `--bench` to every benchmark.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (size, batch, rounds) = (number(472)?, number(1)?, number(5)?);
    let name = arguments.next().unwrap_or_else(|| "pspnet".into());
    let text = if name.starts_with('{') { name.clone() } else { format!(r#"{{"{name}": {{}}}}"#) };
    let spec: NetworkSpec = serde_json::from_str(&text)?;
    let mut network = Network::new(&spec.network(CLASSES, Vec::new()), 0, &Device::Cpu)?;
    let activations = match arguments.next().as_deref() {
        None | Some("f32") => DType::F32,
        Some("bf16") => DType::BF16,
        Some(other) => return Err(format!("activations {other}: expected f32 or bf16").into()),
    };
    network.set_precision(Precision { activations, ..Precision::default() })?;
    let image = Var::rand(0_f32, 1.0, (batch, 3, size, size), &Device::Cpu)?;
    let label =
        Tensor::rand(0_f32, CLASSES as f32, (batch, size, size), &Device::Cpu)?.to_dtype(DType::U8)?;
    let giga = batch as f64 * network.outline().multiply_adds(size, size) as f64 / 1e9;
    println!("{name}, {batch} x {size}x{size}: {giga:.1} GMAC per forward pass");

    let works: [(&str, f64, Work<'_>); 3] = [
        ("forward", 1.0, Box::new(|| network.forward(&image.detach(), &mut Mode::Evaluation).map(drop))),
        (
            "attack gradient",
            2.0,
            Box::new(|| backward(&network, image.as_tensor(), &label, &mut Mode::Evaluation)),
        ),
        (
            "training step",
            3.0,
            Box::new(|| {
                let mut random = stream(0, "dropout", [0; 3]);
                let mut mode = Mode::Training { dropout: 0.1, random: &mut random };
                backward(&network, &image.detach(), &label, &mut mode)
            }),
        ),
    ];
    let mut seconds = works.each_ref().map(|_| Vec::new());
    for _ in 0..rounds {
        for ((_, _, work), seconds) in works.iter().zip(&mut seconds) {
            let start = Instant::now();
            work()?;
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    for ((name, passes, _), seconds) in works.iter().zip(&mut seconds) {
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        println!("{name:>16} {median:7.3} s {:7.1} GFLOP/s", 2.0 * passes * giga / median);
    }
    Ok(())
}

fn backward(network: &Network, image: &Tensor, label: &Tensor, mode: &mut Mode<'_>) -> Result<()> {
    let tape = Tape::start();
    let logits = network.forward(image, mode)?;
    let objective = PixelObjective::CrossEntropy;
    let loss = pixel_objective_mean(&logits, label, objective, network.alignment())?;
    drop(logits);
    tape.backward(&loss).map(drop)
}
