//! PSPNet: backbone, pyramid, heads, and its variables by name.

use crate::head::Head;
use crate::pyramid::{Pooled, Pyramid};
use crate::resnet_v2::ResNetV2;
use crate::variables::{Source, Variables};
use crate::{Pass, PspNetConfig, Result};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder, VarMap};
use robustseg_ops::{Alignment, normalise_image, upsample_bilinear};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a variable of the network is, which decides how it is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// Weight of a convolution, (O, KH, KW, I).
    ConvolutionWeight,
    /// Factor of a batch norm.
    NormWeight,
    /// Offset of a batch norm.
    NormBias,
    /// Offset of the classifier.
    Bias,
    /// Running mean or variance of a batch norm: not trained, never decayed.
    RunningStatistic,
}

impl ParameterKind {
    pub(crate) fn of(name: &str) -> Self {
        match name.rsplit_once('.') {
            Some((_, "running_mean" | "running_var")) => Self::RunningStatistic,
            Some((layer, "weight")) if layer.contains("norm") => Self::NormWeight,
            Some((layer, "bias")) if layer.contains("norm") => Self::NormBias,
            Some((_, "bias")) => Self::Bias,
            _ => Self::ConvolutionWeight,
        }
    }
}

/// A variable of the network.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The variable, as the network holds it.
    pub var: Var,
    /// What it is.
    pub kind: ParameterKind,
}

impl Parameter {
    /// Whether gradient descent changes it.
    pub fn is_trainable(&self) -> bool {
        self.kind != ParameterKind::RunningStatistic
    }
}

/// PSPNet on a pre-activation ResNet at output stride 8.
///
/// ```
/// use robustseg_models::{Pass, PspNet, PspNetConfig};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = PspNetConfig { layers: [1, 1, 1, 1], width: 4, ..PspNetConfig::pspnet50(5) };
/// let device = candle_core::Device::Cpu;
/// let net = PspNet::new(&config, 0, &device)?;
/// let image = candle_core::Tensor::rand(0_f32, 1.0, (1, 3, 33, 41), &device)?;
/// assert_eq!(net.forward(&image, &mut Pass::Evaluation)?.dims(), [1, 5, 6, 5]);
/// assert_eq!(net.logits(&image)?.dims(), [1, 5, 33, 41]);
/// # Ok(())
/// # }
/// ```
pub struct PspNet {
    config: PspNetConfig,
    device: Device,
    activations: DType,
    backbone: ResNetV2,
    pyramid: Pyramid,
    head: Head,
    branches: Option<Branches>,
    parameters: BTreeMap<String, Parameter>,
    parameter_count: usize,
}

/// The heads of a divided network beside the main one.
struct Branches {
    auxiliary: Head,
    mask: Head,
}

/// Small logits of a divided network's three branches, channels last.
#[derive(Clone, Debug)]
pub struct BranchLogits {
    /// The main branch, which is the network when training is over (N, h, w, K).
    pub main: Tensor,
    /// The auxiliary branch (N, h, w, K).
    pub auxiliary: Tensor,
    /// Which of them a pixel is for (N, h, w, 2): the main or the auxiliary one.
    pub mask: Tensor,
}

impl PspNet {
    /// A network whose convolutions, the classifier's among them, start from normal numbers of variance 2 / fan-in (He et al.
    /// 2015), each keyed by `seed` and its name; biases are 0. PSPNet's authors leave the layers beyond the backbone to
    /// PyTorch's default: uniform numbers of variance 1 / (3 fan-in), in the classifier's bias as well. The paper says nothing.
    ///
    /// # Errors
    /// If the configuration describes no network, or memory is short on the device.
    pub fn new(config: &PspNetConfig, seed: u64, device: &Device) -> Result<Self> {
        Self::build(config, Source::Seed(seed), device)
    }

    /// A network of zeros, to be filled by a saved state: drawing the weights of [`PspNet::new`] takes as long as reading
    /// them.
    ///
    /// # Errors
    /// As [`PspNet::new`].
    pub fn blank(config: &PspNetConfig, device: &Device) -> Result<Self> {
        Self::build(config, Source::Blank, device)
    }

    pub(crate) fn build(config: &PspNetConfig, source: Source<'_>, device: &Device) -> Result<Self> {
        config.validate()?;
        let (made, trainable) = (VarMap::new(), Arc::new(AtomicUsize::new(0)));
        let variables = Variables { source, made: made.clone(), trainable: trainable.clone() };
        let vb = VarBuilder::from_backend(Box::new(variables), DType::F32, device.clone());
        let backbone = ResNetV2::new(config, &vb.pp("backbone"))?;
        let pyramid = Pyramid::new(config, &vb)?;
        let head = Head::new(config, config.num_classes, &vb)?;
        let branches = || -> Result<Branches> {
            let auxiliary = Head::new(config, config.num_classes, &vb.pp("auxiliary"))?;
            Ok(Branches { auxiliary, mask: Head::new(config, 2, &vb.pp("mask"))? })
        };
        let branches = config.divided.then(branches).transpose()?;
        let made = made.data().lock().expect("no thread panics holding it");
        let parameters = made
            .iter()
            .map(|(name, var)| (name.clone(), Parameter { var: var.clone(), kind: ParameterKind::of(name) }));
        Ok(Self {
            config: config.clone(),
            device: device.clone(),
            activations: DType::F32,
            backbone,
            pyramid,
            head,
            branches,
            parameters: parameters.collect(),
            parameter_count: trainable.load(Ordering::Relaxed),
        })
    }

    /// Trainable numbers of the network.
    pub fn parameter_count(&self) -> usize {
        self.parameter_count
    }

    /// The configuration that the network was built from.
    pub fn config(&self) -> &PspNetConfig {
        &self.config
    }

    /// The device that holds the variables.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// From now on the network computes with activations of type `elements`: f32, or on a GPU bf16, for which convolutions
    /// round their weights, too. Variables, statistics, sums, logits and gradients of variables are f32 always.
    ///
    /// # Errors
    /// If the network's device has no operations for them.
    pub fn set_activations(&mut self, elements: DType) -> candle_core::Result<()> {
        if elements != DType::F32 && !(elements == DType::BF16 && self.device.is_cuda()) {
            candle_core::bail!(
                "activations of type {} on {}: there are f32, and on a GPU bf16",
                elements.as_str(),
                if self.device.is_cuda() { "a GPU" } else { "the CPU" }
            );
        }
        self.activations = elements;
        Ok(())
    }

    /// The type of the activations: see [`PspNet::set_activations`].
    pub fn activations(&self) -> DType {
        self.activations
    }

    /// How [`PspNet::forward`]'s small logits are to be upsampled.
    pub fn alignment(&self) -> Alignment {
        self.config.upsampling.into()
    }

    /// Every variable by its checkpoint name, running statistics too; convolution weights are (O, KH, KW, I).
    pub fn parameters(&self) -> &BTreeMap<String, Parameter> {
        &self.parameters
    }

    /// Small logits (N, h, w, K), channels last, of `image` (N, 3, H, W) in `[0, 1]`, f32 or f64; h and w are an eighth
    /// of H and W, rounded up. The objectives of `robustseg-ops` upsample them on their way. Of a divided network, those of
    /// the main branch; the others are not run.
    ///
    /// # Errors
    /// If the image does not have four axes and three channels.
    pub fn forward(&self, image: &Tensor, pass: &mut Pass<'_>) -> candle_core::Result<Tensor> {
        self.head.forward(&self.pooled(image, pass)?, pass)
    }

    /// Small logits of all branches of a divided network ([`PspNetConfig::divided`]), otherwise as [`PspNet::forward`].
    ///
    /// # Errors
    /// As [`PspNet::forward`], and if the network is not divided.
    pub fn forward_branches(&self, image: &Tensor, pass: &mut Pass<'_>) -> candle_core::Result<BranchLogits> {
        let Some(Branches { auxiliary, mask }) = &self.branches else {
            candle_core::bail!("the network has one branch; its configuration does not say `divided`");
        };
        let pooled = self.pooled(image, pass)?;
        Ok(BranchLogits {
            main: self.head.forward(&pooled, pass)?,
            auxiliary: auxiliary.forward(&pooled, pass)?,
            mask: mask.forward(&pooled, pass)?,
        })
    }

    /// What the heads read.
    fn pooled(&self, image: &Tensor, pass: &mut Pass<'_>) -> candle_core::Result<Pooled> {
        let x = normalise_image(image, &self.config.mean, &self.config.std)?.to_dtype(self.activations)?;
        self.pyramid.forward(self.backbone.forward(&x, pass)?, pass)
    }

    /// Logits (N, K, H, W) at the size of `image` (N, 3, H, W), in evaluation mode.
    ///
    /// # Errors
    /// As [`PspNet::forward`].
    pub fn logits(&self, image: &Tensor) -> candle_core::Result<Tensor> {
        let (_, _, height, width) = image.dims4()?;
        let small = self.forward(image, &mut Pass::Evaluation)?;
        let full = upsample_bilinear(&small, height, width, self.alignment())?;
        full.permute((0, 3, 1, 2))?.contiguous()
    }

    fn cost(&self, height: usize, width: usize) -> u64 {
        let (size, backbone) = self.backbone.cost([height, width]);
        backbone + self.pyramid.cost() + self.head.cost(size)
    }
}

/// Full-size logits (N, K, H, W), for whoever drives networks by candle's trait. `train` runs on batch
/// statistics and updates the running ones; it does not drop channels, which needs a random stream.
impl ModuleT for PspNet {
    fn forward_t(&self, image: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        if !train {
            return self.logits(image);
        }
        let (_, _, height, width) = image.dims4()?;
        let mut random = robustseg_random::stream(0, "unused", [0; 3]);
        let small = self.forward(image, &mut Pass::Training { dropout: 0.0, random: &mut random })?;
        let full = upsample_bilinear(&small, height, width, self.alignment())?;
        full.permute((0, 3, 1, 2))?.contiguous()
    }
}

fn outline(config: &PspNetConfig) -> Result<PspNet> {
    PspNet::build(config, Source::Outline, &Device::Cpu)
}

/// Trainable numbers of a network (running statistics are none), without building it.
///
/// # Errors
/// If the configuration describes no network.
pub fn parameter_count(config: &PspNetConfig) -> Result<usize> {
    Ok(outline(config)?.parameter_count)
}

/// Multiply-adds of one forward pass over one image of `height` x `width`; of a divided network, of its main branch.
///
/// # Errors
/// If the configuration describes no network.
pub fn multiply_adds(config: &PspNetConfig, height: usize, width: usize) -> Result<u64> {
    Ok(outline(config)?.cost(height, width))
}
