//! A model as an evaluation presents images to it.

use candle_core::{DType, Tensor};
use robustseg_attacks::{Alignment, Model, OnModel, Pass, repeated};
use robustseg_ops::{predict, softmax, upsample_bilinear};

use crate::protocol::Protocol;
use crate::window::{Window, Windowed};
use crate::{Error, Result};

/// The mean of `ImageNet`'s images, which surrounds small images unless the network has another.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// A model under a protocol: a model from prepared images to scores that attacks differentiate
/// through.
///
/// It takes any [`Model`], so that foreign models use protocols too.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use robustseg_attacks::{CurveConfig, Fgsm, channels_first};
/// use robustseg_evaluation::{EvaluationBatch, Presented, Protocol, Semseg, evaluate_presented};
///
/// // Red, green or blue: the logits are the image.
/// let model = channels_first(|image: &Tensor| image.affine(9.0, 0.0));
/// let protocol = Protocol::Semseg(Semseg { long_side: 48, crop: 32, ..Semseg::default() });
/// let presented = Presented::new(&model, &protocol);
/// let image = Tensor::rand(0_f32, 1.0, (1, 3, 24, 32), &Device::Cpu)?;
/// let label = image.argmax(1)?.to_dtype(DType::U8)?;
/// let batch = EvaluationBatch { ids: vec!["noise".into()], image, label };
/// let curves = [CurveConfig::new(Fgsm {}, vec![0.1])];
/// let evaluation = evaluate_presented(&presented, 3, [batch], &curves, 0, 0)?.evaluation;
/// assert_eq!(evaluation.scope.protocol, Some(protocol.clone()));
/// assert!(evaluation.curves[0].points[0].scores.miou < evaluation.clean.miou);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    model: &'a dyn Model,
    protocol: &'a Protocol,
    window: Window,
    padding: [f32; 3],
}

/// A part of a batch that is attacked alone: images and labels.
pub(crate) type Part = (Tensor, Tensor);

impl<'a> Presented<'a> {
    /// `model` under `protocol`.
    pub fn new(model: &'a dyn Model, protocol: &'a Protocol) -> Self {
        Self { model, protocol, window: Window::Whole, padding: MEAN }
    }

    /// The same with whole images cut or covered as `window` says. Other protocols than
    /// [`Protocol::WholeImage`] cut images themselves.
    #[must_use]
    pub fn with_window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// The same with images that are too small surrounded by `colour`, which should be the
    /// network's mean.
    #[must_use]
    pub fn padded_with(self, colour: [f32; 3]) -> Self {
        Self { padding: colour, ..self }
    }

    /// The same of another model.
    fn with_model<'b>(&self, model: &'b dyn Model) -> Presented<'b>
    where
        'a: 'b,
    {
        Presented { model, ..*self }
    }

    /// All but the model, in the name of a pass.
    fn settings(&self) -> String {
        format!("under {:?}, {:?} surrounded by {:?}", self.protocol, self.window, self.padding)
    }

    /// The protocol.
    pub fn protocol(&self) -> &'a Protocol {
        self.protocol
    }

    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// The `image` (N, 3, H, W), f32 in `[0, 1]`, and the `label` (N, H, W), u8, that are attacked
    /// and scored: scaled and cut as the protocol or the window says.
    ///
    /// # Errors
    /// If a shape or type is wrong.
    pub fn prepare(&self, image: &Tensor, label: &Tensor) -> Result<(Tensor, Tensor)> {
        if self.protocol.is_whole_image() && self.window == Window::Whole {
            return Ok((image.clone(), label.clone()));
        }
        let (count, _, height, width) = image.dims4()?;
        if label.dims() != [count, height, width] {
            return Err(Error::Mismatch {
                what: "labels of a batch".into(),
                expected: format!("shape {:?} to go with the images", [count, height, width]),
                actual: format!("{:?}", label.dims()),
            });
        }
        let [top, left, h, w] = self.window.region(height, width);
        let image = image.narrow(2, top, h)?.narrow(3, left, w)?.contiguous()?;
        let label = label.narrow(1, top, h)?.narrow(2, left, w)?.contiguous()?;
        self.protocol.prepare(&image, &label)
    }

    /// The predicted classes (N, H, W) of a prepared `image` (N, 3, H, W). Sliding windows hold
    /// full-size logits of few rows at a time.
    ///
    /// # Errors
    /// If the model fails.
    pub fn predict(&self, image: &Tensor) -> candle_core::Result<Tensor> {
        if self.protocol.is_whole_image() {
            return Windowed::new(self.model, self.window).predict(image);
        }
        let (_, _, height, width) = image.dims4()?;
        predict(&self.logits(image)?, height, width, self.alignment())
    }

    /// The probabilities (N, H, W, K) of the classes at every pixel of a prepared `image`
    /// (N, 3, H, W), f32, all in memory at once: the softmax of the logits at the size of the image.
    ///
    /// # Errors
    /// If the model fails.
    pub fn probabilities(&self, image: &Tensor) -> candle_core::Result<Tensor> {
        let (_, _, height, width) = image.dims4()?;
        softmax(&upsample_bilinear(&self.logits(image)?, height, width, self.alignment())?)
    }

    /// What attacks perturb in a prepared batch. It is one part unless crops are attacked alone.
    pub(crate) fn parts(&self, image: &Tensor, label: &Tensor) -> Result<Vec<Part>> {
        Ok(match self.protocol.attacked_in_crops() {
            Some(semseg) => semseg.crops(image, label, self.padding)?,
            None => vec![(image.clone(), label.clone())],
        })
    }

    /// The model that an attack on one part sees.
    pub(crate) fn of_part(self) -> PartModel<'a> {
        PartModel(self)
    }

    /// The logits (N, h, w, K) of a batch of `size` from all its parts.
    pub(crate) fn logits_of(&self, parts: &[Tensor], size: [usize; 2]) -> candle_core::Result<Tensor> {
        match (self.protocol.attacked_in_crops(), parts) {
            (Some(semseg), _) => semseg.logits_of_crops(self.model, parts, size),
            (None, [image]) => self.logits(image),
            (None, _) => candle_core::bail!("expected one part, found {}", parts.len()),
        }
    }

    /// What all parts of a batch of `size` show together: (N, 3, H, W).
    pub(crate) fn picture(&self, parts: &[Tensor], size: [usize; 2]) -> candle_core::Result<Tensor> {
        match (self.protocol.attacked_in_crops(), parts) {
            (Some(semseg), _) => semseg.picture(parts, size),
            (None, [image]) => Ok(image.clone()),
            (None, _) => candle_core::bail!("expected one part, found {}", parts.len()),
        }
    }
}

impl Model for Presented<'_> {
    fn logits(&self, image: &Tensor) -> candle_core::Result<Tensor> {
        if self.protocol.is_whole_image() {
            return Windowed::new(self.model, self.window).logits(image);
        }
        self.protocol.logits(self.model, image, self.padding)
    }

    fn image_dtype(&self) -> DType {
        // Interpolation rounds to f32.
        if self.protocol.passes_on() { self.model.image_dtype() } else { DType::F32 }
    }

    fn alignment(&self) -> Alignment {
        self.model.alignment()
    }

    fn has_surrogate_gradient(&self) -> bool {
        self.model.has_surrogate_gradient()
    }

    fn repeat(&self, pass: &Pass<'_>, compute: OnModel<'_>) -> Option<candle_core::Result<Vec<Tensor>>> {
        let name = format!("{} of whole images {}", pass.name, self.settings());
        let pass = Pass { name: &name, ..*pass };
        Some(repeated(self.model, &pass, &|model, inputs| compute(&self.with_model(model), inputs)))
    }
}

/// A model from one part of a batch to its scores.
pub(crate) struct PartModel<'a>(Presented<'a>);

impl Model for PartModel<'_> {
    fn logits(&self, image: &Tensor) -> candle_core::Result<Tensor> {
        match self.0.protocol.attacked_in_crops() {
            Some(semseg) => semseg.logits_of_crop(self.0.model, image),
            None => self.0.logits(image),
        }
    }

    fn image_dtype(&self) -> DType {
        match self.0.protocol.attacked_in_crops() {
            Some(_) => self.0.model.image_dtype(),
            None => self.0.image_dtype(),
        }
    }

    fn alignment(&self) -> Alignment {
        self.0.alignment()
    }

    fn has_surrogate_gradient(&self) -> bool {
        self.0.has_surrogate_gradient()
    }

    fn repeat(&self, pass: &Pass<'_>, compute: OnModel<'_>) -> Option<candle_core::Result<Vec<Tensor>>> {
        let name = format!("{} of parts {}", pass.name, self.0.settings());
        let pass = Pass { name: &name, ..*pass };
        let compute =
            |model: &dyn Model, inputs: &[Tensor]| compute(&PartModel(self.0.with_model(model)), inputs);
        Some(repeated(self.0.model, &pass, &compute))
    }
}
