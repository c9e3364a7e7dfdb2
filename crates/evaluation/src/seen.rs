//! The observations of a batch on their way to other processes.

use robustseg_attacks::Cost;
use serde::{Deserialize, Serialize};

use crate::example::Numbered;
use crate::journal::{example_from_bytes, example_to_bytes};
use crate::observation::ImageObservations;
use crate::{Error, Result};

/// The observations of a batch, which no tally has taken in yet.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) images: Vec<ImageObservations>,
    /// The cost of each threat's attack.
    pub(crate) costs: Vec<Cost>,
    /// Those that may be among the worst.
    pub(crate) examples: Vec<Numbered>,
}

/// What stands before the examples.
#[derive(Serialize, Deserialize)]
struct Head {
    images: Vec<ImageObservations>,
    costs: Vec<Cost>,
    /// Number of the image and length in bytes of each example.
    examples: Vec<(usize, usize)>,
}

impl Seen {
    /// All of it as bytes, without any rounding.
    pub(crate) fn into_bytes(self) -> Result<Vec<u8>> {
        let Self { images, costs, examples } = self;
        let mut bodies = Vec::new();
        let mut lengths = Vec::new();
        for (number, example) in &examples {
            let body = example_to_bytes(example)?;
            lengths.push((*number, body.len()));
            bodies.extend(body);
        }
        let head = Head { images, costs, examples: lengths };
        let head = serde_json::to_vec(&head).map_err(candle_core::Error::wrap)?;
        Ok([&(head.len() as u64).to_le_bytes(), &head[..], &bodies[..]].concat())
    }

    /// What [`Seen::into_bytes`] of a rank of the same program wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let broken = || Error::Ranks(robustseg_ranks::Error::Gone);
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(broken)?;
        let (head, mut rest) =
            rest.split_at_checked(u64::from_le_bytes(*length) as usize).ok_or_else(broken)?;
        let Head { images, costs, examples: lengths } =
            serde_json::from_slice(head).map_err(candle_core::Error::wrap)?;
        let mut examples = Vec::with_capacity(lengths.len());
        for (number, length) in lengths {
            let (body, others) = rest.split_at_checked(length).ok_or_else(broken)?;
            examples.push((number, example_from_bytes(body)?));
            rest = others;
        }
        Ok(Self { images, costs, examples })
    }
}
