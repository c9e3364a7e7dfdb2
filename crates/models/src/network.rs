//! A network: its layers, its variables by name, and all that does not depend on its kind.

use std::collections::BTreeMap;

use crate::outline::Outline;
use crate::run::Run;
use crate::variables::{Maker, Source};
use crate::{Mode, NetworkConfig, Parameter, Precision, Result};
use candle_core::{Device, Tensor};
use robustseg_ops::{Alignment, Deal, Pass, Recordings, convert, normalise_image, upsample_bilinear};
use robustseg_ranks::Ranks;

/// A network for semantic segmentation, of any kind that [`Architecture`](crate::Architecture)
/// lists.
///
/// ```
/// use robustseg_models::{Mode, Network, NetworkConfig, PspNetConfig};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = NetworkConfig::new(PspNetConfig { layers: [1, 1, 1, 1], width: 4, ..PspNetConfig::default() }, 5);
/// let device = candle_core::Device::Cpu;
/// let network = Network::new(&config, 0, &device)?;
/// let image = candle_core::Tensor::rand(0_f32, 1.0, (1, 3, 33, 41), &device)?;
/// assert_eq!(network.forward(&image, &mut Mode::Evaluation)?.dims(), [1, 5, 6, 5]);
/// assert_eq!(network.logits(&image)?.dims(), [1, 5, 33, 41]);
/// # Ok(())
/// # }
/// ```
pub struct Network {
    config: NetworkConfig,
    device: Device,
    precision: Precision,
    outline: Outline,
    parameters: BTreeMap<String, Parameter>,
    /// The processes that share every batch.
    ranks: Option<Ranks>,
    /// Whether backward passes compute the maps of blocks again.
    recompute: bool,
    recordings: Recordings,
}

impl Network {
    /// A network with random weights. Convolutions, the classifier's among them, start from normal
    /// numbers of variance 2 / fan-in (He et al. 2015), keyed by `seed` and the variable's name;
    /// biases are 0.
    ///
    /// PSPNet's authors leave the layers behind the backbone to PyTorch's default instead: uniform
    /// numbers of variance 1 / (3 fan-in), also in the classifier's bias. The paper does not say.
    ///
    /// # Errors
    /// If the configuration describes no network, or the device lacks memory.
    pub fn new(config: &NetworkConfig, seed: u64, device: &Device) -> Result<Self> {
        Self::build(config, Source::Seed(seed), device)
    }

    /// A network of zeros, to be filled from a saved state. Drawing the weights of [`Network::new`]
    /// takes as long as reading them.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn blank(config: &NetworkConfig, device: &Device) -> Result<Self> {
        Self::build(config, Source::Blank, device)
    }

    pub(crate) fn build(config: &NetworkConfig, source: Source<'_>, device: &Device) -> Result<Self> {
        let maker = Maker::new(source, device);
        let outline = config.build(&maker)?;
        Ok(Self {
            config: config.clone(),
            device: device.clone(),
            precision: Precision::default(),
            outline,
            parameters: maker.into_parameters(),
            ranks: None,
            recompute: false,
            recordings: Recordings::default(),
        })
    }

    /// The configuration that the network was built from.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// The device that holds the variables.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The costs of the network.
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// Trainable numbers. Running statistics do not count.
    pub fn parameter_count(&self) -> usize {
        self.outline.parameter_count()
    }

    /// Every variable by its checkpoint name, running statistics included. Convolution weights are
    /// (O, KH, KW, I).
    pub fn parameters(&self) -> &BTreeMap<String, Parameter> {
        &self.parameters
    }

    /// How the small logits are to be upsampled.
    pub fn alignment(&self) -> Alignment {
        self.config.upsampling.into()
    }

    /// The numbers that the network computes with, at first f32 alone.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Sets the numbers that the network computes with.
    ///
    /// # Errors
    /// If the network's device has no operations for `precision`.
    pub fn set_precision(&mut self, precision: Precision) -> candle_core::Result<()> {
        precision.require()?;
        self.precision = precision;
        Ok(())
    }

    /// Chooses whether backward passes compute the maps inside the backbone's blocks again instead of
    /// keeping them, at first not. Gradients are the same, bit for bit. A gradient of the weights then
    /// takes a forward pass more, four instead of three, and about half the memory for maps. Gradients
    /// take a [`Tape`](robustseg_ops::Tape) for that.
    pub fn set_recompute(&mut self, recompute: bool) {
        self.recompute = recompute;
    }

    /// Deals every batch out to `ranks` from now on, or to nobody else. The logits, the statistics of a
    /// batch, dropout, and the gradient of the images are those of the whole batch, which all ranks
    /// give and get. The gradients of the weights are those of a rank's own samples, to be added up.
    /// Gradients take a [`Tape`](robustseg_ops::Tape).
    pub fn deal_batches(&mut self, ranks: Option<Ranks>) {
        self.ranks = ranks.filter(|ranks| ranks.size() > 1);
    }

    /// The results of `compute`, a pass through this network, or of its recording
    /// ([`Recordings::run`]). Batches that are dealt out to several processes are computed.
    ///
    /// # Errors
    /// Those of `compute`.
    pub fn repeat(
        &self,
        pass: &Pass<'_>,
        compute: impl Fn(&[Tensor]) -> candle_core::Result<Vec<Tensor>>,
    ) -> candle_core::Result<Vec<Tensor>> {
        if self.ranks.is_some() {
            return pass.compute(compute);
        }
        let Precision { activations, arithmetic } = self.precision;
        let name = format!("{} in {activations:?}, {arithmetic:?}, recompute {}", pass.name, self.recompute);
        self.recordings.run(&Pass { name: &name, ..*pass }, compute)
    }

    /// Small logits (N, h, w, K) of the main head, channels last, for `image` (N, 3, H, W) in
    /// `[0, 1]`, f32 or f64. PSPNet's h and w are an eighth of H and W, rounded up, SegFormer's a
    /// quarter. The objectives of `robustseg-ops` upsample the logits themselves. Branches are not
    /// computed.
    ///
    /// # Errors
    /// If the image does not have four axes and three channels, or is smaller than
    /// [`NetworkConfig::smallest_image`].
    pub fn forward(&self, image: &Tensor, mode: &mut Mode<'_>) -> candle_core::Result<Tensor> {
        let [main] = <[Tensor; 1]>::try_from(self.heads(image, 1, mode)?)
            .map_err(|heads| candle_core::Error::msg(format!("one head gave {} logits", heads.len())))?;
        Ok(main)
    }

    /// Small logits of the main head and of each of [`NetworkConfig::branches`], in this order: as
    /// those of [`Network::forward`], but with the branch's number of channels.
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn forward_branches(&self, image: &Tensor, mode: &mut Mode<'_>) -> candle_core::Result<Vec<Tensor>> {
        self.heads(image, 1 + self.config.branches.len(), mode)
    }

    /// The weight of an auxiliary head's cross-entropy in training, if the network has such a head.
    /// It serves training alone.
    pub fn auxiliary_loss(&self) -> Option<f64> {
        self.outline.layers().auxiliary_loss()
    }

    /// Small logits of all heads: those of [`Network::forward_branches`], and at the end the
    /// auxiliary head's (N, h, w, K), if [`Network::auxiliary_loss`] says that there is one.
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn forward_all(&self, image: &Tensor, mode: &mut Mode<'_>) -> candle_core::Result<Vec<Tensor>> {
        let auxiliary = usize::from(self.auxiliary_loss().is_some());
        self.heads(image, 1 + self.config.branches.len() + auxiliary, mode)
    }

    fn heads(&self, image: &Tensor, count: usize, mode: &mut Mode<'_>) -> candle_core::Result<Vec<Tensor>> {
        let (total, _, height, width) = image.dims4()?;
        let smallest = self.config.smallest_image();
        if height.min(width) < smallest {
            candle_core::bail!(
                "an image of {width}x{height} pixels is too small for {}, which needs {smallest}x{smallest}; enlarge it or \
                 choose another network",
                self.config.architecture.name()
            );
        }
        let deal = self.ranks.as_ref().map(|ranks| Deal::new(ranks.clone(), total));
        let own = deal.as_ref().map(|deal| deal.take(image)).transpose()?;
        let x = normalise_image(own.as_ref().unwrap_or(image), &self.config.mean, &self.config.std)?;
        let Precision { activations, arithmetic } = self.precision;
        let mut run = Run { mode, arithmetic, deal, recompute: self.recompute, repeated: false };
        let heads = self.outline.layers().forward(&convert(&x, activations)?, count, &mut run)?;
        match &run.deal {
            Some(deal) => heads.iter().map(|logits| deal.gather(logits)).collect(),
            None => Ok(heads),
        }
    }

    /// Logits (N, K, H, W) at the size of `image` (N, 3, H, W), in evaluation mode.
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn logits(&self, image: &Tensor) -> candle_core::Result<Tensor> {
        let (_, _, height, width) = image.dims4()?;
        let small = self.forward(image, &mut Mode::Evaluation)?;
        let full = upsample_bilinear(&small, height, width, self.alignment())?;
        full.permute((0, 3, 1, 2))?.contiguous()
    }
}
