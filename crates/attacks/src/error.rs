//! The error of this crate.

use std::borrow::Cow;

/// An attack's error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting of an attack is out of its range.
    #[error("{setting} = {value}: {reason}")]
    Setting {
        /// The setting's name, for example `epsilon`, or `epsilons.2` for the third epsilon of a
        /// curve.
        setting: Cow<'static, str>,
        /// The value that was given.
        value: f64,
        /// The valid range, and a guess at the intended value.
        reason: String,
    },
    /// A curve without epsilons.
    #[error("epsilons: a curve needs at least one")]
    NoEpsilon,
    /// An unknown attack, or an option that the attack does not take.
    #[error("attack `{name}`: {reason}")]
    Attack {
        /// The name as written.
        name: String,
        /// The reason, with the valid names or options.
        reason: String,
    },
    /// An image or label of the wrong shape, type or range.
    #[error("{what}: expected {expected}, got {actual}")]
    Input {
        /// `image` or `label`.
        what: &'static str,
        /// The expected shape, type or range.
        expected: String,
        /// The actual shape, type or range.
        actual: String,
    },
    /// The model's logits do not depend on the image in a differentiable way.
    #[error(
        "the model's logits have no gradient with respect to the image; \
         is every operation in it differentiable in candle?"
    )]
    NoGradient,
    /// The model's gradient is not the slope of its loss; see
    /// [`check_gradient`](crate::check_gradient).
    #[error(
        "the model's gradient is not the slope of its loss: they differ by {:.0} % along the gradient and {:.0} % in random \
         directions, and every attack would overstate its robustness; does it have an operation without a backward pass in \
         candle, such as candle-nn's softmax_last_dim, layer_norm, rms_norm, rope or sdpa? softmax, layer_norm_slow, \
         rms_norm_slow and rope_slow have one",
        100.0 * .along,
        100.0 * .across
    )]
    WrongGradient {
        /// The relative difference along the gradient's sign.
        along: f64,
        /// The relative difference in random directions.
        across: f64,
    },
    /// The objective or its gradient is infinite or NaN for one image of the batch.
    #[error("{quantity} of image {index} in the batch is {value}; has the model diverged?")]
    NotFinite {
        /// The quantity, for example `mean gain`.
        quantity: &'static str,
        /// Position in the batch, from 0.
        index: usize,
        /// The value.
        value: f32,
    },
    /// An operation on tensors failed, possibly inside the model.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
