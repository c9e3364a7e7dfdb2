//! One forward pass of a network.

use std::rc::Rc;

use crate::Mode;
use crate::drawn::Drawn;
use crate::mode::PastMode;
use candle_core::{Device, Result, Tensor};
use rand::RngExt;
use robustseg_ops::{Arithmetic, Deal, dropout_factors, recompute, scale_channels};

/// All that the layers of a network need to know in one forward pass.
pub(crate) struct Run<'a, 'b> {
    /// The network's mode.
    pub(crate) mode: &'a mut Mode<'b>,
    /// How convolutions multiply.
    pub(crate) arithmetic: Arithmetic,
    /// Which samples of the batch these are, if several processes have parts of it.
    pub(crate) deal: Option<Deal>,
    /// Whether backward passes compute the maps of blocks again instead of keeping them.
    pub(crate) recompute: bool,
    /// Whether a backward pass computes something again, which changes nothing in the network.
    pub(crate) repeated: bool,
}

impl Run<'_, '_> {
    /// `layers` of `x`, whose maps the backward pass computes again.
    pub(crate) fn recomputed<F>(&mut self, x: &Tensor, layers: F) -> Result<Tensor>
    where
        F: Fn(&Tensor, &mut Run<'_, '_>) -> Result<Tensor> + 'static,
    {
        let layers = Rc::new(layers);
        let again = Rc::clone(&layers);
        let (arithmetic, deal) = (self.arithmetic, self.deal.clone());
        let drawn = Drawn::default();
        let past = PastMode::new(self.mode, &drawn);
        recompute(
            x,
            |x| match &mut *self.mode {
                Mode::Training { dropout, random } => {
                    let mode = &mut Mode::Training { dropout: *dropout, random: &mut drawn.from(*random) };
                    let (recompute, repeated) = (self.recompute, self.repeated);
                    let deal = self.deal.clone();
                    layers(x, &mut Run { mode, arithmetic, deal, recompute, repeated })
                }
                _ => layers(x, self),
            },
            move |x| {
                past.with(|mode| {
                    let deal = deal.clone();
                    again(x, &mut Run { mode, arithmetic, deal, recompute: false, repeated: true })
                })
            },
        )
    }

    /// `x` (N, H, W, C) after dropout: in training, whole channels are zeroed and the others scaled
    /// up.
    pub(crate) fn dropout(&mut self, x: &Tensor) -> Result<Tensor> {
        self.drop_channels(x, self.mode.dropout_rate())
    }

    /// `x` (N, H, W, C) after dropout of single elements with probability `rate` in training.
    pub(crate) fn dropout_elements(&mut self, x: &Tensor, rate: f64) -> Result<Tensor> {
        let (images, height, width, channels) = x.dims4()?;
        let pixels = x.reshape((images * height * width, 1, 1, channels))?;
        self.drop_channels(&pixels, rate)?.reshape(x.shape())
    }

    /// `count` factors on `device` of what training drops with probability `rate`: 0, or large enough to
    /// make up for what is dropped. `None` where nothing can be dropped. They are those of the whole
    /// batch, however it is dealt out.
    pub(crate) fn factors(&mut self, count: usize, rate: f64, device: &Device) -> Result<Option<Tensor>> {
        if rate == 0.0 {
            return Ok(None);
        }
        let random = match &mut *self.mode {
            Mode::Training { random, .. } => random,
            Mode::Repeated { uniforms, .. } => {
                return Ok(Some(dropout_factors(&uniforms.take(count)?, rate)?));
            }
            _ => return Ok(None),
        };
        let (rows, total) = match &self.deal {
            None => (0..1, 1),
            Some(deal) => (deal.computed(), deal.total()),
        };
        let of_a_row = count / rows.len();
        // Collected as a whole, so that the next draw begins at the same place on all ranks.
        let mut uniforms: Vec<f64> = (0..of_a_row * total).map(|_| random.random()).collect();
        uniforms.truncate(rows.end * of_a_row);
        uniforms.drain(..rows.start * of_a_row);
        Ok(Some(dropout_factors(&Tensor::from_vec(uniforms, count, device)?, rate)?))
    }

    fn drop_channels(&mut self, x: &Tensor, rate: f64) -> Result<Tensor> {
        let (images, _, _, channels) = x.dims4()?;
        match self.factors(images * channels, rate, x.device())? {
            None => Ok(x.clone()),
            Some(factors) => scale_channels(x, &factors.reshape((images, channels))?),
        }
    }
}
