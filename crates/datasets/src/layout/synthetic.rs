//! Generated scenes, a layout without files.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::kind::{Found, Kind, Labels, Search};
use super::scene::{MAX_CLASSES, Scenes, VERSION};
use crate::class::Class;
use crate::decode::MAX_PIXELS;
use crate::error::{Refusal, Result};
use crate::image::Sample;
use crate::source::{Generator, Source};
use crate::split::Lists;

/// The smallest side of a scene, in pixels.
const MIN_SIDE: usize = 16;

/// Generated scenes: size and seed. A dataset of this layout needs no files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Synthetic {
    /// Rows per scene, at least 16.
    pub height: usize,
    /// Pixels per row of a scene, at least 16.
    pub width: usize,
    /// Seed of all scenes.
    pub seed: u64,
}

impl Kind for Synthetic {
    fn name() -> &'static str {
        "synthetic"
    }

    fn summary() -> &'static str {
        "generated scenes of textured shapes, without files"
    }

    fn lists(&self) -> Lists {
        Lists::Unknown
    }

    fn labels(&self) -> Labels {
        Labels::Indices
    }

    fn is_generated(&self) -> bool {
        true
    }

    fn validate(&self, classes: &[Class], _: &[u8]) -> Result<(), Refusal> {
        if !(2..=MAX_CLASSES).contains(&classes.len()) {
            let reason = format!("the layout synthetic can have 2 to {MAX_CLASSES}, found {}", classes.len());
            return Err(Refusal::new("classes", reason));
        }
        let Self { height, width, .. } = self;
        let too_small = *height < MIN_SIDE || *width < MIN_SIDE;
        if too_small || height.checked_mul(*width).is_none_or(|pixels| pixels > MAX_PIXELS) {
            let reason = format!("scenes of {width}x{height} are too small or too large");
            return Err(Refusal::new("layout.synthetic", reason));
        }
        Ok(())
    }

    fn find(&self, search: &Search<'_>) -> Result<Found> {
        let Search { split, count, num_classes, .. } = *search;
        let ids = (0..count).map(|index| format!("{split}_{index:05}")).collect();
        let Self { height, width, seed } = *self;
        let purpose = format!("scenes of {split}");
        let generator = Box::new(Scenes { height, width, seed, purpose, classes: num_classes });
        Ok(Found { source: Source::Generated { ids, generator }, listing: PathBuf::new() })
    }
}

impl Generator for Scenes {
    fn origin(&self, index: usize) -> String {
        let Self { height, width, seed, purpose, classes } = self;
        format!(
            "version {VERSION}, {width}x{height}, seed {seed}, {classes} classes, {purpose}, index {index}"
        )
    }

    fn sample(&self, id: &str, index: usize) -> Sample {
        let (image, label) = self.draw(index);
        Sample { id: id.to_owned(), image, label }
    }
}

#[cfg(test)]
pub(super) fn fixture() -> super::tests::Fixture {
    super::tests::Fixture {
        layout: "{synthetic: {height: 16, width: 16, seed: 1}}",
        split: "",
        files: Vec::new(),
        id: "train_00000",
        labels: &[],
    }
}
