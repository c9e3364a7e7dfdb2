//! The trait of networks: all that differs between one network and another.

use crate::run::Run;
use crate::variables::Variables;
use crate::{Branch, Error};
use candle_core::{Result, Tensor};
use robustseg_ops::Alignment;
use safetensors::SafeTensors;

/// The layers of a network. A network implements this trait and [`Settings`];
/// [`Network`](crate::Network) adds what all networks share.
pub(crate) trait Layers: Send + Sync {
    /// Small logits (N, h, w, channels) of the first `heads` heads: the main one, then the branches
    /// in the order of [`Heads`], then the auxiliary one if there is one. `x` (N, H, W, 3) is a
    /// normalised image in the type of the activations; logits are f32.
    fn forward(&self, x: &Tensor, heads: usize, run: &mut Run<'_, '_>) -> Result<Vec<Tensor>>;

    /// The weight of the auxiliary head's cross-entropy in training, if there is such a head.
    fn auxiliary_loss(&self) -> Option<f64> {
        None
    }

    /// Multiply-adds of the main head's logits for one image of `size` (height, width).
    fn multiply_adds(&self, size: [usize; 2]) -> u64;

    /// What one image of `size` (height, width) occupies.
    fn maps(&self, size: [usize; 2]) -> Maps;
}

/// Numbers that one image occupies in a network, estimated from below.
pub(crate) struct Maps {
    /// In all maps that a forward pass keeps for the backward pass.
    pub(crate) kept: u64,
    /// In those that it keeps if the maps of blocks are computed again, and in the maps of the largest
    /// part that is computed again at a time.
    pub(crate) recomputed: u64,
    /// In the maps that a forward pass without a gradient needs at the same time.
    pub(crate) largest: u64,
}

impl Maps {
    /// These, and `count` numbers in maps outside the blocks, which a forward pass keeps.
    pub(crate) fn and_kept(self, count: u64) -> Self {
        let [kept, recomputed] = [self.kept, self.recomputed].map(|kept| kept.saturating_add(count));
        Self { kept, recomputed, ..self }
    }
}

/// The heads that a network needs.
pub(crate) struct Heads<'a> {
    /// Channels of the main head's logits.
    pub(crate) classes: usize,
    /// Heads next to the main one.
    pub(crate) branches: &'a [Branch],
    /// How small maps lie in larger ones.
    pub(crate) alignment: Alignment,
}

/// The settings of one kind of network. Their [`Default`] is the published network.
pub(crate) trait Settings {
    /// Checks that the settings describe a network.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first number out of its range.
    fn validate(&self) -> crate::Result<()>;

    /// Creates the variables and layers.
    fn layers(&self, heads: &Heads<'_>, variables: &Variables<'_>) -> Result<Box<dyn Layers>>;

    /// A network that is as small as it can sensibly be.
    fn small() -> Self
    where
        Self: Sized;

    /// The setting that scales the network's memory, by its name, and its value.
    fn scale(&self) -> (&'static str, usize);

    /// The least height and width of an image.
    fn smallest_image(&self) -> usize {
        1
    }

    /// Explains why the tensors in `file` have other names than this network's, and what to do, if
    /// that is known. The text continues a sentence.
    fn foreign(&self, _file: &SafeTensors<'_>) -> Option<String> {
        None
    }

    /// The settings that fit the backbone in `file`, if they can be read off its tensors. The text
    /// continues a sentence.
    fn fitting(&self, _file: &SafeTensors<'_>) -> Option<String> {
        None
    }
}

/// Refuses `value` unless it is 1 to `largest`.
pub(crate) fn within(field: &'static str, value: usize, largest: usize) -> crate::Result<()> {
    if (1..=largest).contains(&value) {
        return Ok(());
    }
    Err(Error::Setting { field, reason: format!("must be 1 to {largest}, found {value}") })
}
