//! The normalisation of images that a file of weights states.

use crate::NetworkConfig;
use crate::spelling::prefix;
use crate::stored::values;
use safetensors::SafeTensors;

/// Mean and standard deviation as the robustness library names them, with which Salman et al. (2020,
/// *Do Adversarially Robust ImageNet Models Transfer Better?*) published their weights.
const NAMES: [&str; 2] = ["normalizer.new_mean", "normalizer.new_std"];

/// The greatest distance between numbers that were meant to be the same.
const TOLERANCE: f32 = 1e-3;

/// Refuses a `file` with `names` whose weights expect another normalisation than that of `config`.
/// The text continues a sentence. Most files state none.
pub(crate) fn require_same(
    file: &SafeTensors<'_>,
    names: &[&str],
    config: &NetworkConfig,
) -> Result<(), String> {
    let [mean, std] =
        NAMES.map(|name| prefix(names, name).and_then(|prefix| values(file, &format!("{prefix}{name}"))));
    let (Some(mean), Some(std)) = (mean, std) else { return Ok(()) };
    let near = |ours: [f32; 3], theirs: &[f32]| {
        theirs.len() == 3 && ours.iter().zip(theirs).all(|(ours, theirs)| (ours - theirs).abs() <= TOLERANCE)
    };
    if near(config.mean, &mean) && near(config.std, &std) {
        return Ok(());
    }
    Err(format!(
        "expects images normalised with mean {mean:?} and std {std:?}, but the network has mean {:?} and std {:?}; set \
         the network's `mean` and `std` to those of the file",
        config.mean, config.std
    ))
}
