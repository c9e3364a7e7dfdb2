//! Reasons to distrust a split in which every file is intact.

use rand::seq::SliceRandom;
use rayon::prelude::*;

use crate::decode::orientation;
use crate::{Dataset, IGNORE_LABEL};

/// Number of labels read at a time, on rayon's threads.
const AT_ONCE: usize = 16;

impl Dataset {
    /// Reasons to distrust scores on this split, one sentence each: classes without a labelled
    /// pixel, and images that EXIF rotates.
    ///
    /// It reads labels, spread over the split, until it has found each class. These are few unless
    /// a class is missing. It skips labels that cannot be read, and reads only the first bytes of
    /// images.
    /// labels that cannot be read, and reads the first bytes of images.
    pub fn warnings(&self) -> Vec<String> {
        let turned = (0..self.len()).into_par_iter().filter(|index| self.is_turned(*index)).count();
        self.warnings_of(&self.seen_labels(), turned)
    }

    /// Whether EXIF rotates the image of the sample at `index`.
    pub(crate) fn is_turned(&self, index: usize) -> bool {
        self.files(index).next().is_some_and(|image| orientation(image).turns())
    }

    /// The labels that occur, until all classes are found.
    fn seen_labels(&self) -> [bool; 256] {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.shuffle(&mut robustseg_random::stream(0, "survey", [0; 3]));
        let mut seen = [false; 256];
        for indices in order.chunks(AT_ONCE) {
            let labels: Vec<_> =
                indices.par_iter().filter_map(|index| self.load_label(*index).ok()).collect();
            for label in labels.iter().flatten() {
                seen[usize::from(*label)] = true;
            }
            if seen[..self.num_classes()].iter().all(|seen| *seen) {
                break;
            }
        }
        seen
    }

    /// The warnings about a split with the labels `seen` and with `turned` images that EXIF
    /// rotates.
    pub(crate) fn warnings_of(&self, seen: &[bool; 256], turned: usize) -> Vec<String> {
        let missing: Vec<String> = self
            .classes()
            .iter()
            .zip(seen)
            .filter(|(_, seen)| !**seen)
            .map(|(class, _)| format!("`{}`", class.name))
            .collect();
        let mut warnings = Vec::new();
        if missing.len() == self.num_classes() {
            warnings.push("no pixel is labelled".into());
        } else if !missing.is_empty() {
            let hint = if seen[usize::from(IGNORE_LABEL)] && self.ignores_255() {
                "; if it is 255 in the label files, give it `value: 255` in the manifest, for without that 255 means not labelled"
            } else {
                ""
            };
            warnings.push(format!("no pixel is labelled {}{hint}", missing.join(", ")));
        }
        if turned > 0 {
            let all = self.len();
            warnings.push(format!(
                "EXIF turns {turned} of {all} images, which are read as they are displayed; if their labels were drawn on the \
                 stored pixels, which no program can know, they do not fit: look at `robustseg data preview`, and remove the \
                 orientations (`exiftool -Orientation= FILES`) if so"
            ));
        }
        warnings
    }
}
