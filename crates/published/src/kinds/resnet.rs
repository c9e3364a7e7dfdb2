//! Sizes of residual networks.

use robustseg_models::Backbone;

use crate::kind::Shapes;

/// What the shapes of a backbone tell.
pub(super) struct ResNet {
    pub(super) backbone: Backbone,
    pub(super) layers: [usize; 4],
    pub(super) width: usize,
}

impl ResNet {
    /// The backbone whose names here begin with `prefix`; `ResNet50` of the usual width where
    /// tensors are missing.
    pub(super) fn of(shapes: &Shapes, prefix: &str) -> Self {
        let channels = |name: &str| shapes.channels(&format!("{prefix}{name}"));
        let first = |name: fn(usize, usize) -> String| {
            let count = |stage| shapes.count(|block| format!("{prefix}{}", name(stage, block)));
            let layers = [0, 1, 2, 3].map(count);
            if layers.contains(&0) { [3, 4, 6, 3] } else { layers }
        };
        if channels("stem.conv.weight").is_some() {
            return Self {
                backbone: Backbone::ResnetV2,
                layers: first(|stage, block| format!("stages.{stage}.blocks.{block}.conv1.weight")),
                // The last norm has 32 channels for each one of the width.
                width: channels("norm.weight").map_or(64, |channels| channels / 32),
            };
        }
        let is_deep = channels("conv3.weight").is_some();
        Self {
            backbone: if is_deep { Backbone::ResnetV1c } else { Backbone::ResnetV1 },
            layers: first(|stage, block| format!("layer{}.{block}.conv1.weight", stage + 1)),
            width: channels("conv1.weight").unwrap_or(64),
        }
    }
}
