//! Image-by-image choice between batches.

use candle_core::Tensor;

use crate::{Adversarial, IGNORE_LABEL, Result};

/// The images of `one` where `chosen` is true, and those of `other` elsewhere.
pub(crate) fn rows(chosen: &[bool], one: &Tensor, other: &Tensor) -> Result<Tensor> {
    if chosen.iter().all(|chosen| *chosen) {
        return Ok(one.clone());
    }
    if chosen.iter().all(|chosen| !*chosen) {
        return Ok(other.clone());
    }
    let row = |(index, chosen): (usize, &bool)| if *chosen { one } else { other }.narrow(0, index, 1);
    let rows = chosen.iter().enumerate().map(row).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(Tensor::cat(&rows, 0)?)
}

/// For each image, the example with the largest strength; the first one among equals. `strength` is
/// not called for a single candidate.
pub(crate) fn strongest(
    candidates: Vec<Adversarial>,
    strength: impl Fn(&Tensor) -> Result<Vec<f32>>,
) -> Result<Adversarial> {
    let mut candidates = candidates.into_iter();
    let mut best = candidates.next().expect("an attack crafts at least one example");
    let mut strengths = None;
    for candidate in candidates {
        let mut known = match strengths.take() {
            Some(known) => known,
            None => strength(&best.image)?,
        };
        let found = strength(&candidate.image)?;
        let better: Vec<bool> = found.iter().zip(&known).map(|(found, known)| found > known).collect();
        best.image = rows(&better, &candidate.image, &best.image)?;
        best.epsilon = rows(&better, &candidate.epsilon, &best.epsilon)?;
        for (known, found) in known.iter_mut().zip(found) {
            *known = known.max(found);
        }
        strengths = Some(known);
    }
    Ok(best)
}

/// Marks the images of `label` (N, H, W) that have no labelled pixel.
pub(crate) fn without_labels(label: &Tensor) -> Result<Vec<bool>> {
    let labelled: Vec<u8> = label.ne(IGNORE_LABEL)?.flatten_from(1)?.max(1)?.to_vec1()?;
    Ok(labelled.into_iter().map(|any| any == 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_first_of_equals_wins() -> Result<()> {
        let batch = |values: [f32; 3]| -> Result<Adversarial> {
            let image = Tensor::new(&values, &Device::Cpu)?;
            Ok(Adversarial { epsilon: image.clone(), image })
        };
        // The integer part is the strength. The fraction distinguishes the candidates.
        let candidates = vec![batch([1.1, 2.1, 3.1])?, batch([2.2, 2.2, 1.2])?, batch([2.3, 1.3, 3.3])?];
        let found = strongest(candidates, |image| Ok(image.floor()?.to_vec1()?))?;
        assert_eq!(found.image.to_vec1::<f32>()?, [2.2, 2.1, 3.1]);
        assert_eq!(found.epsilon.to_vec1::<f32>()?, [2.2, 2.1, 3.1]);
        let alone = strongest(vec![batch([1.0; 3])?], |_| panic!("one candidate needs no strength"))?;
        assert_eq!(alone.image.to_vec1::<f32>()?, [1.0; 3]);
        Ok(())
    }
}
