//! Counting of predictions, clean and attacked, over a dataset.

use candle_core::Tensor;
use robustseg_attacks::Model;
use robustseg_metrics::ConfusionMatrix;
use robustseg_ops::predict;

use crate::{Curve, CurveConfig, Error, Evaluation, Point, Result, Scores};

/// Confusion matrices over all images seen so far: one without attack, one for each point of each curve.
pub(crate) struct Tally<'a> {
    curves: &'a [CurveConfig],
    clean: ConfusionMatrix,
    attacked: Vec<Vec<ConfusionMatrix>>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(classes: usize, curves: &'a [CurveConfig]) -> Self {
        let clean = ConfusionMatrix::new(classes);
        let attacked = curves.iter().map(|curve| vec![clean.clone(); curve.epsilons().len()]).collect();
        Self { curves, clean, attacked }
    }

    /// Counts `model`'s predictions for `image` (N, 3, H, W) with `label` (N, H, W), clean and under every attack.
    /// At epsilon 0 the clean prediction is counted again, not made again.
    pub(crate) fn add(&mut self, model: &dyn Model, image: &Tensor, label: &Tensor) -> Result<()> {
        let (_, height, width) = label.dims3()?;
        let truth: Vec<u8> = label.flatten_all()?.to_vec1()?;
        let empty = ConfusionMatrix::new(self.clean.num_classes());
        let count = |image: &Tensor| -> Result<ConfusionMatrix> {
            let prediction = predict(&model.logits(image)?, height, width, model.alignment())?;
            let mut matrix = empty.clone();
            matrix.update(&prediction.flatten_all()?.to_vec1::<u8>()?, &truth)?;
            Ok(matrix)
        };
        let clean = count(image)?;
        self.clean.merge(&clean)?;
        for (curve, matrices) in self.curves.iter().zip(&mut self.attacked) {
            let above_zero: Vec<f64> =
                curve.epsilons().iter().copied().filter(|&epsilon| epsilon > 0.0).collect();
            let mut images = curve.attack(model, image, label, &above_zero)?.into_iter();
            for (&epsilon, matrix) in curve.epsilons().iter().zip(matrices) {
                match if epsilon > 0.0 { images.next() } else { None } {
                    Some(attacked) => matrix.merge(&count(&attacked)?)?,
                    None => matrix.merge(&clean)?,
                }
            }
        }
        Ok(())
    }

    /// The scores of all that was counted.
    pub(crate) fn evaluation(&self) -> Result<Evaluation> {
        let curve = |(config, matrices): (&CurveConfig, &Vec<ConfusionMatrix>)| {
            let points = config.epsilons().iter().zip(matrices);
            let points = points.map(|(&epsilon, matrix)| Ok(Point { epsilon, scores: scores(matrix)? }));
            let points = points.collect::<Result<Vec<_>>>()?;
            Ok(Curve { attack: config.name().into(), parameters: config.parameters(), points })
        };
        Ok(Evaluation {
            clean: scores(&self.clean)?,
            curves: self.curves.iter().zip(&self.attacked).map(curve).collect::<Result<_>>()?,
        })
    }
}

/// A confusion matrix' scores; it must have counted a pixel.
fn scores(matrix: &ConfusionMatrix) -> Result<Scores> {
    let (Some(miou), Some(pixel_accuracy)) = (matrix.mean_iou(), matrix.pixel_accuracy()) else {
        return Err(Error::Mismatch {
            what: "samples to evaluate on".into(),
            expected: "at least one labelled pixel".into(),
            actual: "none".into(),
        });
    };
    Ok(Scores { miou, pixel_accuracy, iou: matrix.iou() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FgsmCurve, IteratedCurve};
    use candle_core::Device;
    use rand::RngExt;
    use robustseg_attacks::IGNORE_LABEL;
    use robustseg_random::stream;

    /// Images whose red value tells the class, a fifth each, by `margin` inside its fifth; a few pixels unlabelled.
    fn scene(margin: f32) -> Result<(Tensor, Tensor)> {
        let random = &mut stream(1, "scene", [0; 3]);
        let labels: Vec<u8> = (0..2 * 24 * 32).map(|_| random.random_range(0..5)).collect();
        let red: Vec<f32> = labels.iter().map(|&label| (f32::from(label) + margin) / 5.0).collect();
        let red = Tensor::from_vec(red, (2, 1, 24, 32), &Device::Cpu)?;
        let image = Tensor::cat(&[&red, &red.zeros_like()?, &red.zeros_like()?], 1)?;
        let labels =
            labels.into_iter().map(|label| if random.random::<f32>() < 0.1 { IGNORE_LABEL } else { label });
        Ok((image, Tensor::from_vec(labels.collect(), (2, 24, 32), &Device::Cpu)?))
    }

    /// Logits that are largest for the fifth that the red value is in.
    fn reads_red(image: &Tensor) -> candle_core::Result<Tensor> {
        let red = image.narrow(1, 0, 1)?.permute((0, 2, 3, 1))?;
        let centres = Tensor::new(&[0.1_f32, 0.3, 0.5, 0.7, 0.9], image.device())?;
        red.broadcast_sub(&centres)?.sqr()?.affine(-100.0, 0.0)
    }

    fn curves() -> Vec<CurveConfig> {
        let epsilons = vec![0.0, 0.02, 0.3];
        let iterated = IteratedCurve { alpha: 0.05, steps: 3, epsilons: epsilons.clone() };
        vec![CurveConfig::Fgsm(FgsmCurve { epsilons }), CurveConfig::Bim(iterated)]
    }

    #[test]
    fn a_perfect_model_scores_one_until_the_attack_reaches_the_next_class() -> Result<()> {
        let (image, label) = scene(0.3)?;
        let curves = curves();
        let mut tally = Tally::new(6, &curves);
        tally.add(&reads_red, &image, &label)?;
        tally.add(&reads_red, &image, &label)?;
        let evaluation = tally.evaluation()?;
        assert_eq!((evaluation.clean.miou, evaluation.clean.pixel_accuracy), (1.0, 1.0));
        let perfect = [Some(1.0); 5].into_iter().chain([None]).collect::<Vec<_>>();
        assert_eq!(evaluation.clean.iou, perfect);
        for curve in &evaluation.curves {
            assert_eq!(curve.points[0].scores, evaluation.clean);
            assert_eq!(curve.points[1].scores, evaluation.clean, "0.02 stays inside a fifth");
            assert!(curve.points[2].scores.pixel_accuracy < 0.5, "{:?}", curve.points[2]);
        }
        Ok(())
    }

    #[test]
    fn a_model_that_sees_nothing_scores_chance() -> Result<()> {
        let (image, label) = scene(0.5)?;
        let blind = |image: &Tensor| {
            let (n, _, h, w) = image.dims4()?;
            let random = &mut stream(2, "noise", [0; 3]);
            let logits: Vec<f32> = (0..n * h * w * 5).map(|_| random.random()).collect();
            Tensor::from_vec(logits, (n, h, w, 5), image.device())
        };
        let mut tally = Tally::new(5, &[]);
        tally.add(&blind, &image, &label)?;
        let clean = tally.evaluation()?.clean;
        assert!((clean.pixel_accuracy - 0.2).abs() < 0.04, "{clean:?}");
        assert!((clean.miou - 1.0 / 9.0).abs() < 0.03, "{clean:?}");
        Ok(())
    }

    #[test]
    fn nothing_labelled_is_an_error() -> Result<()> {
        let (image, label) = scene(0.5)?;
        let mut tally = Tally::new(5, &[]);
        tally.add(&reads_red, &image, &Tensor::full(IGNORE_LABEL, label.shape(), &Device::Cpu)?)?;
        assert!(tally.evaluation().unwrap_err().to_string().contains("at least one labelled pixel"));
        Ok(())
    }
}
