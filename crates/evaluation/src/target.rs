//! A network behind the interface of attacks.

use candle_core::{DType, Tensor};
use robustseg_attacks::{Alignment, Model, OnModel, Pass};
use robustseg_models::{Network, NormStatistics};

/// A network with detached weights. Gradients reach only the image, and the network stays
/// unchanged.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    network: &'a Network,
    statistics: NormStatistics,
}

impl<'a> Target<'a> {
    /// Makes a target of `network` that uses batch norm's `statistics`.
    pub fn new(network: &'a Network, statistics: NormStatistics) -> Self {
        Self { network, statistics }
    }
}

impl Model for Target<'_> {
    fn logits(&self, image: &Tensor) -> candle_core::Result<Tensor> {
        self.network.forward(image, &mut self.statistics.mode())
    }

    fn image_dtype(&self) -> DType {
        DType::F64
    }

    fn alignment(&self) -> Alignment {
        self.network.alignment()
    }

    fn repeat(&self, pass: &Pass<'_>, compute: OnModel<'_>) -> Option<candle_core::Result<Vec<Tensor>>> {
        self.network.device().is_cuda().then(|| {
            let name = format!("{} on {:?} statistics", pass.name, self.statistics);
            self.network.repeat(&Pass { name: &name, ..*pass }, |inputs| compute(self, inputs))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use candle_core::Device;
    use robustseg_attacks::{PixelObjective, check_gradient, input_gradient};

    /// The norm of the difference relative to the norm of `b`.
    fn relative_l2(a: &Tensor, b: &Tensor) -> candle_core::Result<f32> {
        let norm = |t: &Tensor| t.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>();
        Ok(norm(&(a - b)?)? / norm(b)?)
    }

    #[test]
    fn the_networks_gradient_is_the_slope_of_its_loss() -> crate::Result<()> {
        let batch = fixture::batch(1, 1);
        let images = Tensor::from_slice(&batch.images, (1, 3, batch.height, batch.width), &Device::Cpu)?;
        let labels = Tensor::from_slice(&batch.labels, (1, batch.height, batch.width), &Device::Cpu)?;
        for seed in 0..8 {
            let network = fixture::network(seed)?;
            let target = Target::new(&network, NormStatistics::Running);
            let found = check_gradient(&target, &images, &labels)?.expect("labels");
            assert!(found.agrees(), "seed {seed}: {found:?}");
        }
        Ok(())
    }

    #[test]
    fn gradients_of_a_batch_are_those_of_its_images() -> crate::Result<()> {
        let batch = fixture::batch(1, 3);
        let images = Tensor::from_slice(&batch.images, (3, 3, batch.height, batch.width), &Device::Cpu)?;
        let labels = Tensor::from_slice(&batch.labels, (3, batch.height, batch.width), &Device::Cpu)?;
        let network = fixture::network(1)?;
        let target = Target::new(&network, NormStatistics::Running);
        let all = input_gradient(&target, &images, &labels, PixelObjective::CrossEntropy)?;
        for index in 0..3 {
            let (image, label) = (images.narrow(0, index, 1)?, labels.narrow(0, index, 1)?);
            let one = input_gradient(&target, &image, &label, PixelObjective::CrossEntropy)?;
            let distance = relative_l2(&all.gradient.narrow(0, index, 1)?, &one.gradient)?;
            assert!(distance < 1e-4, "image {index} differs by {distance}");
        }
        Ok(())
    }
}
