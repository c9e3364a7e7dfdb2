//! A network's variables: what each is and where it belongs.

use candle_core::Var;

/// The role of a variable, which decides how it is trained. The layer that creates the variable
/// declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// Weight of a convolution, (O, KH, KW, I).
    ConvolutionWeight,
    /// Scale of a normalisation.
    NormWeight,
    /// Shift of a normalisation.
    NormBias,
    /// Bias of any other layer.
    Bias,
    /// Running mean or variance of a batch norm: neither trained nor decayed.
    RunningStatistic,
}

/// The part of a network that a variable belongs to. The two parts may train at different rates,
/// and pretrained weights fill the backbone alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The feature extractor. Names of its variables start with `backbone.`.
    Backbone,
    /// Everything behind the backbone.
    Head,
}

/// A variable of a network.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The variable. The network's layers share it, so changing it changes the network. Change it by
    /// [`assign`](robustseg_ops::assign): a weight on a GPU has a rounded copy.
    pub var: Var,
    /// Its role.
    pub kind: ParameterKind,
    /// Its part of the network.
    pub part: Part,
    /// How many variables were made before it. A network makes them in the order of a forward pass, so
    /// a backward pass completes their gradients in about the opposite order.
    pub position: usize,
}

impl Parameter {
    /// Whether gradient descent changes the variable.
    pub fn is_trainable(&self) -> bool {
        self.kind != ParameterKind::RunningStatistic
    }
}
