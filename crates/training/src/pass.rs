//! A pass over the batch of an update: the loss and its gradients. If the loss is that of the settings, a GPU
//! repeats the pass from a recording.

use std::collections::HashMap;
use std::time::Instant;

use candle_core::{Tensor, Var};
use rand::RngExt;
use robustseg_models::{Mode, Uniforms};
use robustseg_ops::{Gradients, Pass, Tape};

use crate::method::{Forward, Loss};
use crate::samples::At;
use crate::step::{Learned, OnDevice};
use crate::step_record::Seconds;
use crate::trainer::Trainer;
use crate::{Error, Result};

/// For each shape of images, the number of uniform numbers that a pass draws for dropout. No number if the
/// pass gives no gradient for some variable.
pub(crate) type Draws = HashMap<Vec<usize>, Option<usize>>;

impl Trainer {
    /// The loss of `images` and its gradients. They may be a variable, which then gets a gradient, too.
    pub(crate) fn pass(
        &mut self,
        batch: &OnDevice<'_>,
        images: &Tensor,
        at: At,
        seconds: &mut Seconds,
    ) -> Result<Learned> {
        let start = Instant::now();
        let refused = |value| at.not_finite("the loss".into(), value, batch.ids.to_vec());
        let mut random = at.random("dropout");
        let tape = Tape::start();
        let mode = Mode::Training { dropout: self.config.dropout, random: &mut random };
        let (network, labels, criterion) = (&self.network, &batch.labels, &self.criterion);
        let mut forward = Forward { network, images, labels, mode, criterion, auxiliary: None };
        let own = self.method.loss(&mut forward)?;
        let is_of_settings = own.is_none();
        if is_of_settings && let Some(draws) = self.draws(images) {
            drop(tape);
            let (value, gradients) = self.repeated(images, labels, draws, at)?;
            seconds.backward += start.elapsed().as_secs_f64();
            if !value.is_finite() {
                return Err(refused(value));
            }
            return Ok(Learned { value, penalty: None, gradients, sums: None, example_gradient: None });
        }
        let Loss { value: loss, additional } = own.map_or_else(|| forward.loss_of_settings(), Ok)?;
        let auxiliary = forward.auxiliary_loss()?;
        let value = loss.to_scalar::<f32>()?;
        if !value.is_finite() {
            return Err(refused(value));
        }
        seconds.forward += start.elapsed().as_secs_f64();

        let start = Instant::now();
        let mut penalty = None;
        if let Some(additional) = &additional {
            penalty = Some(f64::from(additional.to_scalar::<f32>()?));
        }
        let terms = [additional, auxiliary].into_iter().flatten();
        let total = terms.into_iter().try_fold(loss, |total, term| total + term)?;
        let mut sums = if self.config.accumulate == 1 { self.sums() } else { None };
        let gradients = match &mut sums {
            Some(sums) => tape.backward_with(&total, |variable, gradient| {
                sums.take(variable, gradient).map_err(candle_core::Error::wrap)
            })?,
            None => tape.backward(&total)?,
        };
        self.network.device().synchronize()?;
        seconds.backward += start.elapsed().as_secs_f64();
        if is_of_settings {
            // A number takes two words of 32 bits.
            let draws = random.get_word_pos() / 2;
            self.note_draws(images, draws as usize, &gradients);
        }
        Ok(Learned { value, penalty, gradients, sums, example_gradient: None })
    }

    /// The numbers that a pass over `images` draws, if the pass may be repeated.
    fn draws(&self, images: &Tensor) -> Option<usize> {
        let alone = self.network.device().is_cuda() && self.ranks.size() == 1;
        self.draws.get(images.dims()).copied().flatten().filter(|_| alone)
    }

    /// Remembers that a pass over `images` drew `count` numbers and gave `gradients`.
    fn note_draws(&mut self, images: &Tensor, count: usize, gradients: &Gradients) {
        let complete = self.trainable().all(|variable| gradients.get(variable).is_some());
        self.draws.insert(images.dims().to_vec(), complete.then_some(count));
    }

    fn trainable(&self) -> impl Iterator<Item = &Var> {
        let parameters = self.network.parameters().values();
        parameters.filter(|parameter| parameter.is_trainable()).map(|parameter| &parameter.var)
    }

    /// The loss of the settings for `images`, and its gradients by the weights, and by the images if they
    /// are a variable. `draws` is the number that [`Trainer::draws`] gave.
    fn repeated(&self, images: &Tensor, labels: &Tensor, draws: usize, at: At) -> Result<(f32, Gradients)> {
        let mut random = at.random("dropout");
        // No tensor is empty.
        let uniforms: Vec<f64> = (0..draws.max(1)).map(|_| random.random()).collect();
        let uniforms = Tensor::new(uniforms, self.network.device())?;
        let fixed = self.network.parameters().values().filter(|parameter| !parameter.is_trainable());
        let overwritten: Vec<Var> = fixed.map(|parameter| parameter.var.clone()).collect();
        let of_images = images.is_variable();
        let dropout = self.config.dropout;
        let name = format!("training with dropout {dropout}, gradient of the images {of_images}");
        let pass = Pass { name: &name, inputs: &[images, labels, &uniforms], overwritten: &overwritten };
        let mut found = self.network.repeat(&pass, |inputs| {
            self.loss_and_gradients(inputs, of_images).map_err(|error| match error {
                Error::Candle(error) => error,
                error => candle_core::Error::wrap(error),
            })
        })?;
        let of_images = of_images.then(|| found.pop()).flatten();
        let mut gradients = Gradients::default();
        for (variable, gradient) in self.trainable().zip(found.drain(1..)) {
            gradients.insert(variable, gradient);
        }
        if let Some(gradient) = of_images {
            gradients.insert(images, gradient);
        }
        Ok((found[0].to_scalar()?, gradients))
    }

    /// Of images, labels and uniform numbers: the loss, the gradient of each trainable variable, and that
    /// of the images if they get one.
    fn loss_and_gradients(&self, inputs: &[Tensor], of_images: bool) -> Result<Vec<Tensor>> {
        let images = if of_images { Var::from_tensor(&inputs[0])?.into_inner() } else { inputs[0].clone() };
        let tape = Tape::start();
        let mode =
            Mode::Repeated { dropout: self.config.dropout, uniforms: Uniforms::new(inputs[2].clone()) };
        let mut forward = Forward {
            network: &self.network,
            images: &images,
            labels: &inputs[1],
            mode,
            criterion: &self.criterion,
            auxiliary: None,
        };
        let value = forward.loss_of_settings()?.value;
        let total = match forward.auxiliary_loss()? {
            Some(auxiliary) => (&value + auxiliary)?,
            None => value.clone(),
        };
        let mut gradients = tape.backward(&total)?;
        let variables = self.trainable().map(Var::as_tensor).chain(of_images.then_some(&images));
        let gradients = variables.map(|variable| {
            gradients.remove(variable).ok_or_else(|| Error::Mismatch {
                what: "gradients".into(),
                expected: "one for each variable".into(),
                actual: "none for some".into(),
            })
        });
        [Ok(value.detach())].into_iter().chain(gradients).collect()
    }
}
