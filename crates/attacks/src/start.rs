//! Where an iterated attack starts.

use serde::{Deserialize, Serialize};

/// Where an iterated attack starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the image itself.
    Image,
    /// At a random point of the ball: the image plus noise from `U(-epsilon, epsilon)`, clipped to
    /// `[0, 1]`.
    Random,
}
