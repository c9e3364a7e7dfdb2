//! GFLOP/s of the convolutions of PSPNet50 at 472x472, batch 1: medians of the output, the input
//! gradient and the weight gradient. Every algorithm counts as the operations of a direct
//! convolution.
//!
//!     cargo bench -p robustseg-ops --bench convolution -- [ROUNDS]

use candle_core::{Device, Result, Var};
use robustseg_ops::{Arithmetic, Conv2dConfig, conv2d};
use std::time::Instant;

/// Height and width, input channels, output channels, kernel, stride, dilation.
const SHAPES: [[usize; 6]; 15] = [
    [472, 3, 64, 7, 2, 1],
    [118, 64, 64, 3, 1, 1],
    [118, 256, 64, 1, 1, 1],
    [118, 64, 256, 1, 1, 1],
    [118, 128, 128, 3, 2, 1],
    [59, 128, 128, 3, 1, 1],
    [59, 512, 128, 1, 1, 1],
    [59, 128, 512, 1, 1, 1],
    [59, 256, 256, 3, 1, 2],
    [59, 1024, 256, 1, 1, 1],
    [59, 256, 1024, 1, 1, 1],
    [59, 512, 512, 3, 1, 4],
    [59, 2048, 512, 1, 1, 1],
    [59, 512, 2048, 1, 1, 1],
    [59, 2048, 512, 3, 1, 1],
];

fn main() -> Result<()> {
    robustseg_ops::keep_freed_memory();
    // Cargo passes `--bench` to every benchmark.
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(5);
    println!(
        "{:>42} {:>8} {:>8} {:>8}",
        "size inputs outputs kernel stride dilation", "forward", "input", "weight"
    );
    for shape @ [size, inputs, outputs, kernel, stride, dilation] in SHAPES {
        let config = Conv2dConfig { stride, padding: kernel / 2 * dilation, dilation };
        let x = Var::rand(-1_f32, 1.0, (1, size, size, inputs), &Device::Cpu)?;
        let weight = Var::rand(-1_f32, 1.0, (outputs, kernel, kernel, inputs), &Device::Cpu)?;
        let arithmetic = Arithmetic::default();
        let (fixed_x, fixed_weight) = (x.as_detached_tensor(), weight.as_detached_tensor());
        let of_input = conv2d(&x, &fixed_weight, config, arithmetic)?;
        let of_weight = conv2d(&fixed_x, &weight, config, arithmetic)?;
        let mut seconds = [const { Vec::new() }; 3];
        for _ in 0..rounds {
            seconds[0].push(elapsed(|| conv2d(&fixed_x, &fixed_weight, config, arithmetic))?);
            seconds[1].push(elapsed(|| of_input.backward())?);
            seconds[2].push(elapsed(|| of_weight.backward())?);
        }
        let operations = 2 * of_input.elem_count() * kernel * kernel * inputs;
        let [forward, input, weight] = seconds.map(|mut seconds| {
            seconds.sort_by(f64::total_cmp);
            operations as f64 / seconds[seconds.len() / 2] / 1e9
        });
        println!("{:>42} {forward:8.1} {input:8.1} {weight:8.1}", format!("{shape:?}"));
    }
    Ok(())
}

/// Seconds of one call.
fn elapsed<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}
