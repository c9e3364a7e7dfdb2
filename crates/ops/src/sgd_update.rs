//! One update of stochastic gradient descent.

use crate::in_place::Update;
use candle_core::{Tensor, Var};

/// Constants of one SGD step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdConfig {
    /// Step size.
    pub learning_rate: f64,
    /// Share of the previous velocity that is kept.
    pub momentum: f64,
    /// Factor of the L2 penalty's gradient.
    pub weight_decay: f64,
    /// Whether the parameter looks ahead along its velocity.
    pub nesterov: bool,
}

/// A parameter and the tensors that change it, all of one shape, f32.
#[derive(Clone, Copy, Debug)]
pub struct SgdUpdate<'a> {
    /// The trained variable.
    pub parameter: &'a Var,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// Its velocity.
    pub velocity: &'a Var,
    /// The constants of its step.
    pub config: SgdConfig,
}

/// Overwrites the velocity, given (gradient, parameter).
pub(crate) struct Momentum(pub(crate) SgdConfig);

impl Update<2> for Momentum {
    const NAME: &'static str = "sgd_momentum";
}

/// Overwrites the parameter, given the velocity, at a learning rate.
pub(crate) struct Descend(pub(crate) f32);

impl Update<1> for Descend {
    const NAME: &'static str = "sgd_descend";
}

/// Overwrites the parameter, given (gradient, new velocity), as Nesterov's momentum does.
pub(crate) struct LookAhead(pub(crate) SgdConfig);

impl Update<2> for LookAhead {
    const NAME: &'static str = "sgd_look_ahead";
}
