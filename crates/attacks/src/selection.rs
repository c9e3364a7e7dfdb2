//! Choosing between images of one batch and another, image by image.

use candle_core::Tensor;

use crate::{IGNORE_LABEL, Result};

/// The rows of `one` where `chosen`, those of `other` elsewhere.
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

/// Of several batches, for each image the one with the largest value, the first of equals. One batch alone is not
/// valued.
pub(crate) fn largest(candidates: &[Tensor], value: impl Fn(&Tensor) -> Result<Vec<f32>>) -> Result<Tensor> {
    let (mut best, rest) = (candidates[0].clone(), &candidates[1..]);
    if rest.is_empty() {
        return Ok(best);
    }
    let mut values = value(&best)?;
    for candidate in rest {
        let found = value(candidate)?;
        let better: Vec<bool> = found.iter().zip(&values).map(|(found, value)| found > value).collect();
        best = rows(&better, candidate, &best)?;
        for (value, found) in values.iter_mut().zip(found) {
            *value = value.max(found);
        }
    }
    Ok(best)
}

/// Which images of `label` (N, H, W) have no labelled pixel.
pub(crate) fn without_labels(label: &Tensor) -> Result<Vec<bool>> {
    let labelled: Vec<u8> = label.ne(IGNORE_LABEL)?.flatten_from(1)?.max(1)?.to_vec1()?;
    Ok(labelled.into_iter().map(|any| any == 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn of_equals_the_first_is_taken() -> Result<()> {
        let batch = |values: [f32; 3]| Tensor::new(&values, &Device::Cpu);
        // What counts is the whole part; the rest tells candidates apart.
        let candidates = [batch([1.1, 2.1, 3.1])?, batch([2.2, 2.2, 1.2])?, batch([2.3, 1.3, 3.3])?];
        let value = |candidate: &Tensor| Ok(candidate.floor()?.to_vec1()?);
        assert_eq!(largest(&candidates, value)?.to_vec1::<f32>()?, [2.2, 2.1, 3.1]);
        Ok(())
    }
}
