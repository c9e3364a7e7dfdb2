//! Stochastic gradient descent with momentum over a network's named parameters.

use std::collections::BTreeMap;

use candle_core::Var;
use candle_core::backprop::GradStore;
use robustseg_models::{Network, Parameter, ParameterKind, Part};
use robustseg_ops::{SgdConfig, SgdUpdate, sgd_step};

use crate::config::TrainingConfig;
use crate::{Error, Result};

/// SGD with momentum and L2 weight decay, as in PyTorch: `v = momentum * v + gradient + decay * p;
/// p -= rate * v`.
///
/// Running statistics of batch norm are not parameters and stay unchanged.
pub struct Optimiser {
    momentum: f64,
    weight_decay: f64,
    decay_norm_and_bias: bool,
    head_learning_rate_factor: f64,
    velocities: BTreeMap<String, Var>,
}

impl Optimiser {
    /// An optimiser with zero velocities for the trainable parameters of `network`.
    pub fn new(network: &Network, config: &TrainingConfig) -> Result<Self> {
        let velocities = trainable(network)
            .map(|(name, parameter)| {
                let zeros = parameter.var.zeros_like()?.detach();
                Ok((name.clone(), Var::from_tensor(&zeros)?))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            momentum: config.momentum,
            weight_decay: config.weight_decay,
            decay_norm_and_bias: config.decay_norm_and_bias,
            head_learning_rate_factor: config.head_learning_rate_factor,
            velocities,
        })
    }

    /// The velocities by parameter name.
    pub fn velocities(&self) -> &BTreeMap<String, Var> {
        &self.velocities
    }

    /// Updates every trainable parameter of `network` by its gradient at `learning_rate` (that of
    /// the backbone). If a gradient contains a value that is not finite, nothing changes, and the
    /// call returns the first such parameter with the sum of its gradient.
    ///
    /// # Errors
    /// [`Error::NoGradient`] if a parameter has no gradient. Nothing has changed then.
    pub fn step(
        &self,
        network: &Network,
        gradients: &GradStore,
        learning_rate: f64,
    ) -> Result<Option<(String, f32)>> {
        let (names, updates): (Vec<&String>, Vec<SgdUpdate<'_>>) = trainable(network)
            .map(|(name, parameter)| {
                let gradient = gradients.get(parameter.var.as_tensor());
                let gradient = gradient.ok_or_else(|| Error::NoGradient(name.clone()))?;
                let velocity = self.velocities.get(name).ok_or_else(|| Error::Mismatch {
                    what: "network of the optimiser's step".into(),
                    expected: "the network that the optimiser was made for".into(),
                    actual: format!("one with another parameter, {name}"),
                })?;
                let config = self.config(parameter, learning_rate);
                Ok((name, SgdUpdate { parameter: &parameter.var, gradient, velocity, config }))
            })
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .unzip();
        let Some(first) = sgd_step(&updates)? else {
            return Ok(None);
        };
        let sum = updates[first].gradient.sum_all()?.to_scalar()?;
        Ok(Some((names[first].clone(), sum)))
    }

    /// The settings of one parameter's update.
    fn config(&self, parameter: &Parameter, learning_rate: f64) -> SgdConfig {
        let factor = match parameter.part {
            Part::Backbone => 1.0,
            Part::Head => self.head_learning_rate_factor,
        };
        let decayed = self.decay_norm_and_bias || parameter.kind == ParameterKind::ConvolutionWeight;
        SgdConfig {
            learning_rate: learning_rate * factor,
            momentum: self.momentum,
            weight_decay: if decayed { self.weight_decay } else { 0.0 },
        }
    }
}

fn trainable(network: &Network) -> impl Iterator<Item = (&String, &Parameter)> {
    network.parameters().iter().filter(|(_, parameter)| parameter.is_trainable())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Basic, fixture};
    use candle_core::Tensor;

    /// Gradients of 0.5 for every trainable number.
    fn gradients(network: &Network) -> Result<GradStore> {
        let sums = trainable(network).map(|(_, parameter)| parameter.var.sum_all()? * 0.5);
        let sums = sums.collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Tensor::stack(&sums, 0)?.sum_all()?.backward()?)
    }

    fn values(network: &Network) -> Result<BTreeMap<String, Vec<f32>>> {
        let parameters = network.parameters().iter();
        parameters.map(|(name, p)| Ok((name.clone(), p.var.flatten_all()?.to_vec1()?))).collect()
    }

    /// Two steps at rates 0.1 and 0.05, for a single value.
    fn by_hand(start: f32, factor: f32, decay: f32) -> f32 {
        let velocity = 0.5 + decay * start;
        let once = start - 0.1 * factor * velocity;
        let velocity = 0.9 * velocity + 0.5 + decay * once;
        once - 0.05 * factor * velocity
    }

    #[test]
    fn two_steps_by_hand_for_every_parameter() -> Result<()> {
        for decay_norm_and_bias in [true, false] {
            let mut config = fixture::config(Basic {});
            config.weight_decay = 0.01;
            config.decay_norm_and_bias = decay_norm_and_bias;
            let network = fixture::network(3)?;
            let before = values(&network)?;
            let optimiser = Optimiser::new(&network, &config)?;
            for rate in [0.1, 0.05] {
                optimiser.step(&network, &gradients(&network)?, rate)?;
            }
            let after = values(&network)?;
            for (name, parameter) in network.parameters() {
                let factor = if name.starts_with("backbone.") { 1.0 } else { 10.0 };
                let convolution = parameter.kind == ParameterKind::ConvolutionWeight;
                let decay = if convolution || decay_norm_and_bias { 0.01 } else { 0.0 };
                for (&start, &end) in before[name].iter().zip(&after[name]) {
                    let expected =
                        if parameter.is_trainable() { by_hand(start, factor, decay) } else { start };
                    assert!(
                        (end - expected).abs() <= 2e-6 * (1.0 + expected.abs()),
                        "{name}: {end}, not {expected}"
                    );
                }
            }
            assert!(after.keys().any(|name| name.ends_with("running_var")));
            assert!(optimiser.velocities().keys().all(|name| !name.contains("running")));
        }
        Ok(())
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_named_and_nothing_moves() -> Result<()> {
        let network = fixture::network(3)?;
        let optimiser = Optimiser::new(&network, &fixture::config(Basic {}))?;
        let before = values(&network)?;
        let mut gradients = gradients(&network)?;
        let bias = network.parameters()["classifier.bias"].var.as_tensor();
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            gradients.insert(bias, Tensor::new(&[0.0, value, 1.0], bias.device())?);
            let (name, sum) = optimiser.step(&network, &gradients, 0.1)?.expect("one is not finite");
            assert!(name == "classifier.bias" && (sum == value || value.is_nan()), "{name}: {sum}");
            assert_eq!(values(&network)?, before);
        }
        gradients.insert(bias, Tensor::new(&[0_f32, 0.5, 1.0], bias.device())?);
        assert_eq!(optimiser.step(&network, &gradients, 0.1)?, None);
        assert_ne!(values(&network)?, before);
        Ok(())
    }

    #[test]
    fn a_parameter_without_gradient_is_named_and_nothing_moves() -> Result<()> {
        let network = fixture::network(3)?;
        let optimiser = Optimiser::new(&network, &fixture::config(Basic {}))?;
        let before = values(&network)?;
        let (_, first) = trainable(&network).next().expect("a network has parameters");
        let partial = first.var.sum_all()?.backward()?;
        assert!(matches!(optimiser.step(&network, &partial, 0.1), Err(Error::NoGradient(_))));
        assert_eq!(values(&network)?, before);
        Ok(())
    }
}
