//! The losses of training and their registry.
//!
//! A loss is a file here: a struct of settings with `Default`, and its [`Term`]. One line in
//! [`register!`] below makes it known to specs, the schema and tests. Attacks and methods climb
//! objectives of their own.

mod class_weights;
mod config;
mod criterion;
mod cross_entropy;
mod dice;
mod lovasz;
mod ohem;

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::Tensor;
use robustseg_attacks::Described;
use robustseg_ops::Alignment;
use serde::de::MapAccess;

use crate::Result;

pub use class_weights::ClassWeights;
pub use config::LossConfig;
pub(crate) use criterion::Criterion;

/// A loss with its settings, as a term of the training loss.
pub(crate) trait Term: Described + Debug + Send + Sync {
    /// The name in specs.
    fn name(&self) -> &'static str;

    /// One sentence about the loss.
    fn summary(&self) -> &'static str;

    /// The factor on the loss, with the field that holds it.
    fn weight(&self) -> (&'static str, f64);

    /// Refuses settings out of range, apart from the weight.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// The weights of classes, with the field that holds them, if the loss takes any.
    fn class_weights(&self) -> Option<(&'static str, &ClassWeights)> {
        None
    }

    /// Bytes that the loss of `images` of `pixels` pixels takes for a while, if they are many: about
    /// as many as `classes` full-size maps.
    fn memory(&self, images: usize, pixels: usize, classes: usize) -> usize {
        let _ = (images, pixels, classes);
        0
    }

    /// The loss, a scalar, without its factor.
    fn value(&self, scene: &Scene<'_>) -> Result<Tensor>;
}

/// What a loss is computed from.
pub(crate) struct Scene<'a> {
    /// Small logits (N, h, w, K).
    pub(crate) logits: &'a Tensor,
    /// Labels (N, H, W), u8.
    pub(crate) labels: &'a Tensor,
    pub(crate) alignment: Alignment,
    /// By class, if the settings weigh classes.
    pub(crate) class_weights: Option<&'a [f32]>,
}

/// Makes the registry from a list of losses.
macro_rules! register {
    ($($file:ident::$loss:ident,)+) => {
        $(pub use $file::$loss;)+

        $(impl From<$loss> for LossConfig {
            fn from(loss: $loss) -> Self {
                Self::of(vec![Arc::new(loss)])
            }
        })+

        /// The registered losses with their default settings.
        pub(crate) fn losses() -> Vec<Arc<dyn Term>> {
            vec![$(Arc::new($loss::default())),+]
        }

        /// Reads the settings of the loss at `index` of [`losses`].
        fn read<'de, A: MapAccess<'de>>(index: usize, map: &mut A) -> Result<Arc<dyn Term>, A::Error> {
            let mut place = 0..;
            $(if place.next() == Some(index) {
                return Ok(Arc::new(map.next_value::<$loss>()?));
            })+
            unreachable!("index {index} of {} losses", losses().len())
        }

        /// The JSON schemas of the settings of [`losses`].
        #[cfg(feature = "schema")]
        fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<schemars::Schema> {
            vec![$(<$loss as schemars::JsonSchema>::json_schema(generator)),+]
        }
    };
}

register! {
    cross_entropy::CrossEntropy,
    ohem::Ohem,
    dice::Dice,
    lovasz::Lovasz,
}
