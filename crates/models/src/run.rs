//! One forward pass of a network.

use crate::Mode;
use robustseg_ops::Arithmetic;

/// All that the layers of a network need to know in one forward pass.
pub(crate) struct Run<'a, 'b> {
    /// The network's mode.
    pub(crate) mode: &'a mut Mode<'b>,
    /// How a GPU computes convolutions.
    pub(crate) arithmetic: Arithmetic,
}
