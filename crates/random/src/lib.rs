//! Random streams that are a pure function of their purpose.
//!
//! Everything random in robustseg draws from such a stream: initial weights, order of samples,
//! augmentation, the choice of samples to attack, random step sizes, dropout. The key of a stream
//! consists of the experiment's seed, the purpose, and up to three indices such as epoch and
//! sample. Results therefore do not depend on the order of threads, on the number of earlier draws,
//! or on whether a run was resumed.
//!
//! ```
//! use rand::RngExt;
//! let mut a = robustseg_random::stream(7, "augmentation", [0, 12, 0]);
//! let mut b = robustseg_random::stream(7, "augmentation", [0, 12, 0]);
//! assert_eq!(a.random::<u64>(), b.random::<u64>());
//! ```

pub use rand::Rng;
pub use rand::rngs::ChaCha8Rng;

use rand::SeedableRng;

/// The random stream of `purpose` at `indices` (for example epoch, sample, 0) under `seed`.
/// Seed, hash of the purpose and the first two indices form the key of `ChaCha8`. The third index
/// selects the stream under that key. Different arguments give independent streams; equal arguments
/// give the same numbers on every platform.
pub fn stream(seed: u64, purpose: &str, indices: [u64; 3]) -> ChaCha8Rng {
    let mut key = [0_u8; 32];
    let words = [seed, fnv1a(purpose), indices[0], indices[1]];
    for (slot, word) in key.chunks_exact_mut(8).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(indices[2]);
    rng
}

/// Fills `out` with standard normal numbers from `rng`, in pairs, by the Box-Muller transform.
pub fn standard_normal(rng: &mut (impl Rng + ?Sized), out: &mut [f32]) {
    use rand::RngExt;
    for pair in out.chunks_mut(2) {
        let u: f64 = 1.0 - rng.random::<f64>();
        let v: f64 = rng.random();
        let radius = (-2.0 * u.ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * v).sin_cos();
        pair[0] = (radius * cos) as f32;
        if let Some(second) = pair.get_mut(1) {
            *second = (radius * sin) as f32;
        }
    }
}

/// FNV-1a, 64 bits. It is stable across platforms and compilers, which `std`'s hashers do not
/// guarantee.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn every_part_of_the_key_matters() {
        let first = |seed, purpose, indices| -> u64 { stream(seed, purpose, indices).random() };
        let base = first(1, "a", [0, 0, 0]);
        for other in [
            first(2, "a", [0, 0, 0]),
            first(1, "b", [0, 0, 0]),
            first(1, "a", [1, 0, 0]),
            first(1, "a", [0, 1, 0]),
            first(1, "a", [0, 0, 1]),
        ] {
            assert_ne!(base, other);
        }
        assert_eq!(base, first(1, "a", [0, 0, 0]));
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let mut draws = vec![0.0; 200_001];
        standard_normal(&mut stream(3, "test", [0; 3]), &mut draws);
        let mean = draws.iter().sum::<f32>() / draws.len() as f32;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f32>() / draws.len() as f32;
        assert!(mean.abs() < 0.01, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
    }
}
