//! Networks that an evaluation takes adversarial examples from.

use robustseg_models::Network;
use robustseg_words::counted;

use crate::{Error, Result};

/// A network whose adversarial examples the evaluated network faces too. Gradients of the evaluated
/// network may be masked. Those of another one are not, and many of its examples transfer
/// (Athalye et al. 2018).
pub struct Source {
    /// Its name in results.
    pub name: String,
    /// The network, of as many classes as the evaluated one.
    pub network: Network,
}

impl Source {
    pub(crate) fn require_classes(&self, num_classes: usize) -> Result<()> {
        let own = self.network.config().num_classes;
        if own == num_classes {
            return Ok(());
        }
        Err(Error::Mismatch {
            what: format!("source {}", self.name),
            expected: counted(num_classes, "class"),
            actual: own.to_string(),
        })
    }
}

/// The evaluated network, and the sources of further adversarial examples.
///
/// A network alone converts into a subject without sources.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The evaluated network.
    pub network: &'a Network,
    /// The sources. Each crafts the examples of every curve.
    pub sources: &'a [Source],
}

impl<'a> From<&'a Network> for Subject<'a> {
    fn from(network: &'a Network) -> Self {
        Self { network, sources: &[] }
    }
}
