//! Optimisers over a network's named parameters.

use std::collections::BTreeMap;

use candle_core::Var;
use robustseg_models::{Network, Parameter, ParameterKind, Part};
use robustseg_ops::Gradients;

use crate::config::TrainingConfig;
use crate::optimisers::{Common, OptimiserConfig, Trained};
use crate::{Error, Result};

/// An optimiser with its state for each trainable parameter.
///
/// SGD is [`sgd_step`](robustseg_ops::sgd_step), `AdamW` is
/// [`adamw_step`](robustseg_ops::adamw_step), both as in PyTorch. Running statistics of batch norm are
/// not parameters and stay unchanged.
pub struct Optimiser {
    kind: OptimiserConfig,
    common: Common,
    weight_decay: f64,
    decay_norm_and_bias: bool,
    head_learning_rate_factor: f64,
    /// By the name of the quantity and of the parameter.
    state: BTreeMap<String, Var>,
}

impl Optimiser {
    /// An optimiser whose state is zero, for the trainable parameters of `network`.
    pub fn new(network: &Network, config: &TrainingConfig) -> Result<Self> {
        let quantities = config.optimiser.get().quantities();
        let mut state = BTreeMap::new();
        for (name, parameter) in trainable(network) {
            for quantity in quantities {
                let zeros = parameter.var.zeros_like()?.detach();
                state.insert(format!("{quantity}.{name}"), Var::from_tensor(&zeros)?);
            }
        }
        Ok(Self {
            kind: config.optimiser.clone(),
            common: config.common(),
            weight_decay: config.weight_decay,
            decay_norm_and_bias: config.decay_norm_and_bias,
            head_learning_rate_factor: config.head_learning_rate_factor,
            state,
        })
    }

    /// The state by name: `velocity.NAME` for each parameter NAME, or `mean.NAME` and `square.NAME`
    /// for `AdamW`.
    pub fn state(&self) -> &BTreeMap<String, Var> {
        &self.state
    }

    /// Updates every trainable parameter of `network` by its gradient at `learning_rate` (that of
    /// the backbone). `update` is the number of this update, from 1. If a gradient contains a value
    /// that is not finite, nothing changes, and the call returns the first such parameter with the
    /// sum of its gradient.
    ///
    /// # Errors
    /// [`Error::NoGradient`] if a parameter has no gradient. Nothing has changed then.
    pub fn step(
        &self,
        network: &Network,
        gradients: &Gradients,
        learning_rate: f64,
        update: u64,
    ) -> Result<Option<(String, f32)>> {
        let rule = self.kind.get();
        let trained = trainable(network).map(|(name, parameter)| {
            let gradient = gradients.get(parameter.var.as_tensor());
            let gradient = gradient.ok_or_else(|| Error::NoGradient(name.clone()))?;
            let state =
                rule.quantities().iter().map(|quantity| self.of(quantity, name)).collect::<Result<_>>()?;
            let (learning_rate, weight_decay) = self.rates(parameter, learning_rate);
            Ok(Trained { parameter: &parameter.var, gradient, state, learning_rate, weight_decay })
        });
        let trained = trained.collect::<Result<Vec<Trained<'_>>>>()?;
        let Some(first) = rule.step(&trained, self.common, update)? else { return Ok(None) };
        let name = trainable(network).nth(first).map_or_else(String::new, |(name, _)| name.clone());
        Ok(Some((name, trained[first].gradient.sum_all()?.to_scalar()?)))
    }

    /// The state `quantity` of the parameter `name`.
    fn of(&self, quantity: &str, name: &str) -> Result<&Var> {
        self.state.get(&format!("{quantity}.{name}")).ok_or_else(|| Error::Mismatch {
            what: "network of the optimiser's step".into(),
            expected: "the network that the optimiser was made for".into(),
            actual: format!("one with another parameter, {name}"),
        })
    }

    /// Learning rate and weight decay of one parameter.
    fn rates(&self, parameter: &Parameter, learning_rate: f64) -> (f64, f64) {
        let factor = match parameter.part {
            Part::Backbone => 1.0,
            Part::Head => self.head_learning_rate_factor,
        };
        let decayed = self.decay_norm_and_bias || parameter.kind == ParameterKind::ConvolutionWeight;
        (learning_rate * factor, if decayed { self.weight_decay } else { 0.0 })
    }
}

fn trainable(network: &Network) -> impl Iterator<Item = (&String, &Parameter)> {
    network.parameters().iter().filter(|(_, parameter)| parameter.is_trainable())
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use super::*;
    use crate::{AdamW, Basic, fixture};
    use robustseg_ops::Tape;

    /// Gradients of 0.5 for every trainable number.
    fn gradients(network: &Network) -> Result<Gradients> {
        let tape = Tape::start();
        let sums = trainable(network).map(|(_, parameter)| parameter.var.sum_all()? * 0.5);
        let sums = sums.collect::<candle_core::Result<Vec<_>>>()?;
        Ok(tape.backward(&Tensor::stack(&sums, 0)?)?)
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
            for (update, rate) in [(1, 0.1), (2, 0.05)] {
                optimiser.step(&network, &gradients(&network)?, rate, update)?;
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
            assert!(optimiser.state().keys().all(|name| !name.contains("running")));
        }
        Ok(())
    }

    #[test]
    fn the_first_step_of_adamw_is_the_rate_and_its_decay() -> Result<()> {
        for decay_norm_and_bias in [true, false] {
            let mut config = fixture::config(Basic {});
            (config.weight_decay, config.decay_norm_and_bias) = (0.1, decay_norm_and_bias);
            config.optimiser = AdamW::default().into();
            let network = fixture::network(3)?;
            let (before, optimiser) = (values(&network)?, Optimiser::new(&network, &config)?);
            assert_eq!(optimiser.step(&network, &gradients(&network)?, 0.01, 1)?, None);
            let after = values(&network)?;
            for (name, parameter) in network.parameters().iter().filter(|(_, p)| p.is_trainable()) {
                let rate = if parameter.part == Part::Backbone { 0.01 } else { 0.1 };
                let convolution = parameter.kind == ParameterKind::ConvolutionWeight;
                let decay = if convolution || decay_norm_and_bias { 0.1 } else { 0.0 };
                for (&start, &end) in before[name].iter().zip(&after[name]) {
                    let expected = start * (1.0 - rate * decay) - rate;
                    assert!((end - expected).abs() <= 2e-6 * (1.0 + expected.abs()), "{name}: {end}");
                }
            }
            assert_eq!(optimiser.state().len(), 2 * trainable(&network).count());
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
            let (name, sum) = optimiser.step(&network, &gradients, 0.1, 1)?.expect("one is not finite");
            assert!(name == "classifier.bias" && (sum == value || value.is_nan()), "{name}: {sum}");
            assert_eq!(values(&network)?, before);
        }
        gradients.insert(bias, Tensor::new(&[0_f32, 0.5, 1.0], bias.device())?);
        assert_eq!(optimiser.step(&network, &gradients, 0.1, 1)?, None);
        assert_ne!(values(&network)?, before);
        Ok(())
    }

    #[test]
    fn a_parameter_without_gradient_is_named_and_nothing_moves() -> Result<()> {
        let network = fixture::network(3)?;
        let optimiser = Optimiser::new(&network, &fixture::config(Basic {}))?;
        let before = values(&network)?;
        let (_, first) = trainable(&network).next().expect("a network has parameters");
        let partial = Tape::start().backward(&first.var.sum_all()?)?;
        assert!(matches!(optimiser.step(&network, &partial, 0.1, 1), Err(Error::NoGradient(_))));
        assert_eq!(values(&network)?, before);
        Ok(())
    }
}
