//! What can go wrong in an attack.

use std::borrow::Cow;

/// An attack's error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting of an attack is out of its range.
    #[error("{setting} = {value}: {reason}")]
    Setting {
        /// The setting's name, for example `epsilon`, or `epsilons.2` for the third of a curve.
        setting: Cow<'static, str>,
        /// The value that was given.
        value: f64,
        /// The range, and a guess at what was meant.
        reason: String,
    },
    /// A curve has no point.
    #[error("epsilons: a curve needs at least one")]
    NoEpsilon,
    /// There is no attack of that name, or it does not take an option that was given.
    #[error("attack `{name}`: {reason}")]
    Attack {
        /// The name as given.
        name: String,
        /// What is wrong with it, and which names or options there are.
        reason: String,
    },
    /// An image or label has another shape, type or range than an attack needs.
    #[error("{what}: expected {expected}, got {actual}")]
    Input {
        /// `image` or `label`.
        what: &'static str,
        /// What is needed.
        expected: String,
        /// What was given.
        actual: String,
    },
    /// The model's logits do not depend on the image in a differentiable way.
    #[error(
        "the model's logits have no gradient with respect to the image; \
         is every operation in it differentiable in candle?"
    )]
    NoGradient,
    /// The model's gradient is not the slope of its loss; see [`check_gradient`](crate::check_gradient).
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
    /// The objective or its gradient is infinite or not a number for one image of the batch.
    #[error("{quantity} of image {index} in the batch is {value}; has the model diverged?")]
    NotFinite {
        /// Which number, for example `mean gain`.
        quantity: &'static str,
        /// Position in the batch, from 0.
        index: usize,
        /// The number.
        value: f32,
    },
    /// An operation on tensors failed, or the model itself did.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
