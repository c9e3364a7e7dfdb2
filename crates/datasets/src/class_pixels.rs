//! How often each class occurs in a split.

use rayon::prelude::*;

use crate::Result;
use crate::dataset::Dataset;
use crate::image::IGNORE_LABEL;
use crate::loader::OnBadSample;

impl Dataset {
    /// The labelled pixels of each class. A sample that cannot be read counts for nothing if bad
    /// samples are skipped. Cost: decodes all label maps, on rayon's threads.
    ///
    /// # Errors
    /// The error of the first label map that cannot be read, unless it is skipped.
    pub fn class_pixels(&self, on_bad_sample: OnBadSample) -> Result<Vec<u64>> {
        let of_sample = |index| -> Result<[u64; 256]> {
            let mut pixels = [0; 256];
            match self.load_label(index) {
                Ok(label) => label.into_iter().for_each(|label| pixels[usize::from(label)] += 1),
                Err(_) if on_bad_sample == OnBadSample::Skip => {}
                Err(error) => return Err(error),
            }
            Ok(pixels)
        };
        let add = |mut sum: [u64; 256], more: [u64; 256]| {
            sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            Ok(sum)
        };
        let mut pixels = (0..self.len()).into_par_iter().map(of_sample).try_reduce(|| [0; 256], add)?;
        pixels[usize::from(IGNORE_LABEL)] = 0;
        Ok(pixels[..self.num_classes()].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;

    #[test]
    fn the_pixels_of_all_label_maps_are_counted() -> Result<()> {
        let text = "{name: s, folder: s, layout: {synthetic: {height: 24, width: 32, seed: 1}}, classes: [\
                    {name: a, colour: [0, 0, 0]}, {name: b, colour: [1, 0, 0]}], splits: {train: {count: 3}}, \
                    citation: c, licence: l, obtain: o}";
        let dataset = Dataset::open(&Manifest::parse(text, "s.yaml".as_ref())?, "".as_ref(), "train")?;
        let pixels = dataset.class_pixels(OnBadSample::Fail)?;
        let of_class = |class: u8| {
            let of_sample = |index| dataset.load(index).unwrap().label.data;
            (0..3).flat_map(of_sample).filter(|label| *label == class).count() as u64
        };
        assert_eq!(pixels, [of_class(0), of_class(1)]);
        assert!(pixels.iter().all(|pixels| *pixels > 0));
        Ok(())
    }
}
