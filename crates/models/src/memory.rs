//! How much memory a network needs at least.

use crate::{PspNetConfig, Result, parameter_count};

/// Bytes of an f32.
const BYTES: u64 = 4;

/// Bytes that one training step needs at least, on `batch` images of `height` x `width`: weights, velocities and gradients,
/// and what the forward pass keeps for the backward one. Measured peaks were 1.1 to 2.2 times as high.
///
/// # Errors
/// If the configuration describes no network.
pub fn training_memory(config: &PspNetConfig, batch: usize, height: usize, width: usize) -> Result<u64> {
    let parameters = parameter_count(config)? as u64;
    let kept = gradient_memory(config, batch, height, width)?;
    Ok(kept.saturating_add(2 * BYTES * parameters))
}

/// Bytes that an attack's gradient needs at least, on `batch` images of `height` x `width`: the weights, and what the forward
/// pass keeps for the backward one. Measured peaks were 1.1 to 2.2 times as high.
///
/// # Errors
/// If the configuration describes no network.
pub fn gradient_memory(config: &PspNetConfig, batch: usize, height: usize, width: usize) -> Result<u64> {
    let parameters = parameter_count(config)? as u64;
    let maps = maps(config, height as u64, width as u64).saturating_mul(batch as u64);
    // Half as much again for the gradients of those that the backward pass is at.
    Ok((BYTES * parameters).saturating_add(maps.saturating_mul(BYTES + BYTES / 2)))
}

/// Bytes that a forward pass without a gradient needs at least, on `batch` images of `height` x `width`: the weights, and the
/// largest map of a stage with the one that it is made of.
///
/// # Errors
/// If the configuration describes no network.
pub fn forward_memory(config: &PspNetConfig, batch: usize, height: usize, width: usize) -> Result<u64> {
    let parameters = parameter_count(config)? as u64;
    let [_, quarter, eighth] = scales(height as u64, width as u64);
    let channels = config.channels().map(|channels| channels as u64);
    // A block's input and output; the input of a stage's only block is the previous stage's output.
    let pair = |stage: usize| {
        let input = if config.layers[stage - 1] > 1 { channels[stage] } else { channels[stage - 1] };
        let pixels = if stage == 1 { quarter } else { eighth };
        pixels.saturating_mul(channels[stage] + input)
    };
    let largest = (1..=4).map(pair).max().unwrap_or(0).saturating_mul(batch as u64);
    Ok(BYTES.saturating_mul(parameters).saturating_add(largest.saturating_mul(BYTES)))
}

/// Numbers in the maps that convolutions make of one image.
fn maps(config: &PspNetConfig, height: u64, width: u64) -> u64 {
    let [half, quarter, eighth] = scales(height, width);
    let channels = config.channels().map(|channels| channels as u64);
    let mut total = half.saturating_mul(channels[0]);
    for (stage, &blocks) in config.layers.iter().enumerate() {
        let size = if stage == 0 { quarter } else { eighth };
        // Two maps of a quarter of the channels and one of all in each block, and the first one's shortcut.
        let outputs = channels[stage + 1] * (3 * blocks as u64 + 2) / 2;
        total = total.saturating_add(size.saturating_mul(outputs));
    }
    let heads = if config.divided { 3 } else { 1 };
    total.saturating_add(eighth.saturating_mul(heads * config.head_channels() as u64))
}

/// Pixels of maps of half, a quarter and an eighth of an image's sides.
fn scales(height: u64, width: u64) -> [u64; 3] {
    let halved = |[height, width]: [u64; 2]| [height.div_ceil(2), width.div_ceil(2)];
    let half = halved([height, width]);
    let quarter = halved(half);
    [half, quarter, halved(quarter)].map(|[height, width]| height.saturating_mul(width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_below_measured_peaks_and_not_far() {
        // Peaks of `robustseg bench`, in MB: layers, width, batch, side.
        for (layers, width, batch, side, peak) in [
            ([1, 1, 1, 1], 16, 4, 200, 152),
            ([3, 4, 6, 3], 16, 4, 200, 215),
            ([3, 4, 6, 3], 16, 2, 400, 368),
            ([3, 4, 6, 3], 16, 8, 200, 370),
            ([1, 1, 1, 1], 64, 2, 104, 551),
            ([3, 4, 6, 3], 32, 1, 200, 277),
        ] {
            let config = PspNetConfig { layers, width, ..PspNetConfig::pspnet50(21) };
            let bytes = training_memory(&config, batch, side, side).unwrap();
            let share = bytes as f64 / f64::from(peak << 20);
            assert!((0.4..1.0).contains(&share), "{layers:?} {width} {batch} {side}: {share}");
            let gradient = gradient_memory(&config, batch, side, side).unwrap();
            assert!(gradient < bytes && forward_memory(&config, batch, side, side).unwrap() < gradient);
        }
    }

    #[test]
    fn sizes_without_end_are_counted() {
        let config = PspNetConfig::pspnet50(21);
        assert_eq!(training_memory(&config, usize::MAX, 8192, 8192).unwrap(), u64::MAX);
        assert_eq!(forward_memory(&config, usize::MAX, 8192, 8192).unwrap(), u64::MAX);
    }
}
