//! Gaussian blur of a channel in one pass over memory.

/// Pixels that are summed together in registers.
const BLOCK: usize = 16;

/// Blurs a channel of rows of `width` values in `[0, 1]` with the standard deviation `sigma` in
/// pixels. The kernel ends `reach` pixels from its centre, or after three standard deviations.
/// Border pixels are repeated outwards.
///
/// Blurred rows go into a ring buffer as high as the kernel and are summed from there. Each value
/// is read and written once, and intermediate values fit the nearest cache.
pub(crate) fn blur(channel: &mut [f32], width: usize, sigma: f64, reach: Option<usize>) {
    let half = half_kernel(sigma, reach);
    let height = channel.len() / width;
    let radius = half.len() - 1;
    let mut ring = vec![0.0; (2 * radius + 1) * width];
    let slot = |row: usize| row % (2 * radius + 1) * width;
    let mut padded = vec![0.0; width + 2 * radius];
    let mut across = |channel: &[f32], row: usize, ring: &mut [f32]| {
        let from = &channel[row * width..][..width];
        padded[..radius].fill(from[0]);
        padded[radius..radius + width].copy_from_slice(from);
        padded[radius + width..].fill(from[width - 1]);
        let taps = |tap: usize| [&padded[radius - tap..], &padded[radius + tap..]];
        weighted(&half, taps, &mut ring[slot(row)..][..width]);
    };
    for row in 0..radius.min(height) {
        across(channel, row, &mut ring);
    }
    for row in 0..height {
        if row + radius < height {
            across(channel, row + radius, &mut ring);
        }
        let line = |row: usize| &ring[slot(row)..][..width];
        let taps = |tap: usize| [line(row.saturating_sub(tap)), line((row + tap).min(height - 1))];
        let sums = &mut channel[row * width..][..width];
        weighted(&half, taps, sums);
        // The weights' sum is rounded and may slightly exceed one.
        for value in sums {
            *value = value.min(1.0);
        }
    }
}

/// The kernel from its centre outwards. The full kernel, with both sides, sums to 1.
fn half_kernel(sigma: f64, reach: Option<usize>) -> Vec<f32> {
    let radius = reach.unwrap_or((3.0 * sigma).ceil() as usize);
    let weight = |offset: usize| (-0.5 * (offset as f64 / sigma).powi(2)).exp();
    let sum = weight(0) + 2.0 * (1..=radius).map(weight).sum::<f64>();
    (0..=radius).map(|offset| (weight(offset) / sum) as f32).collect()
}

/// Sums of values that `taps` gives for each distance from the centre, weighted by the half
/// kernel.
fn weighted<'a>(half: &[f32], taps: impl Fn(usize) -> [&'a [f32]; 2], sums: &mut [f32]) {
    let (blocks, rest) = sums.as_chunks_mut::<BLOCK>();
    let end = blocks.len() * BLOCK;
    for (index, block) in blocks.iter_mut().enumerate() {
        let start = index * BLOCK;
        let values =
            |line: &'a [f32]| line[start..].first_chunk::<BLOCK>().expect("a line is as long as a row");
        let mut sum = values(taps(0)[0]).map(|value| half[0] * value);
        for (tap, weight) in half.iter().enumerate().skip(1) {
            let [before, behind] = taps(tap).map(values);
            for lane in 0..BLOCK {
                sum[lane] += weight * (before[lane] + behind[lane]);
            }
        }
        *block = sum;
    }
    for (column, sum) in (end..).zip(rest) {
        *sum = half[0] * taps(0)[0][column];
        for (tap, weight) in half.iter().enumerate().skip(1) {
            let [before, behind] = taps(tap);
            *sum += weight * (before[column] + behind[column]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blur_keeps_the_mean_and_a_constant_and_smooths() {
        let mut channel = vec![0.0; 21 * 21];
        channel[10 * 21 + 10] = 1.0;
        blur(&mut channel, 21, 1.2, None);
        assert!((channel.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let expected = 1.0 / (std::f32::consts::TAU * 1.2 * 1.2);
        assert!((channel[10 * 21 + 10] - expected).abs() < 2e-3, "{}", channel[220]);
        assert_eq!(channel[10 * 21 + 8], channel[8 * 21 + 10]);
        let mut constant = vec![0.3; 49];
        blur(&mut constant, 7, 1.5, None);
        assert!(constant.iter().all(|value| (value - 0.3).abs() < 1e-6));
    }

    #[test]
    fn the_kernel_of_pspnets_authors_is_opencvs() {
        // cv2.getGaussianKernel(5, 0), whose standard deviation is 0.3 * ((5 - 1) * 0.5 - 1) + 0.8.
        let expected = [0.369_546_64, 0.244_460_22, 0.070_766_46];
        for (found, expected) in half_kernel(1.1, Some(2)).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
        assert_eq!(half_kernel(1.1, Some(2)).len(), 3);
    }

    proptest! {
        #[test]
        fn it_is_the_sum_over_a_square_with_the_border_going_on(
            height in 1_usize..40, width in 1_usize..40, sigma in 0.05..1.5, seed: u64,
        ) {
            use rand::RngExt;
            let mut random = robustseg_random::stream(seed, "test", [0; 3]);
            let source: Vec<f32> = (0..height * width).map(|_| random.random()).collect();
            let mut found = source.clone();
            blur(&mut found, width, sigma, None);
            let radius = (3.0 * sigma).ceil() as i64;
            let weight = |offset: i64| (-0.5 * (offset as f64 / sigma).powi(2)).exp();
            let at = |place: usize, by: i64, size: usize| (place as i64 + by).clamp(0, size as i64 - 1) as usize;
            for (pixel, found) in found.iter().enumerate() {
                let (row, column) = (pixel / width, pixel % width);
                let (mut sum, mut weights) = (0.0, 0.0);
                for (down, right) in (-radius..=radius).flat_map(|d| (-radius..=radius).map(move |r| (d, r))) {
                    let weight = weight(down) * weight(right);
                    sum += weight * f64::from(source[at(row, down, height) * width + at(column, right, width)]);
                    weights += weight;
                }
                prop_assert!((sum / weights - f64::from(*found)).abs() < 2e-6, "{row} {column}: {found}");
            }
        }
    }
}
