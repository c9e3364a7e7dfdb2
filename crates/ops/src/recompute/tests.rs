use std::cell::Cell;
use std::rc::Rc;

use super::recompute;
use crate::{
    Arithmetic, BatchNorm, Conv2dConfig, Gradients, StatisticsSource, Tape, batch_norm_relu_conv2d,
    batch_statistics, conv2d, conv2d_add, max_pool2d,
};
use candle_core::{Device, Result, Tensor, TensorId, Var};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

fn random(shape: &[usize], seed: u64) -> Result<Tensor> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..shape.iter().product()).map(|_| rng.random_range(-1.0_f32..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// The variables of two residual blocks and of what surrounds them.
#[derive(Clone)]
struct Weights {
    image: Tensor,
    stem: Tensor,
    three: Tensor,
    one: Tensor,
    norm: [Tensor; 2],
}

impl Weights {
    fn new() -> Result<Self> {
        let variable =
            |shape: &[usize], seed| Result::Ok(Var::from_tensor(&random(shape, seed)?)?.into_inner());
        Ok(Self {
            image: variable(&[2, 9, 7, 3], 0)?,
            stem: variable(&[6, 3, 3, 3], 1)?,
            three: variable(&[6, 3, 3, 6], 2)?,
            one: variable(&[6, 1, 1, 6], 3)?,
            norm: [variable(&[6], 4)?, variable(&[6], 5)?],
        })
    }

    fn all(&self) -> [&Tensor; 6] {
        [&self.image, &self.stem, &self.three, &self.one, &self.norm[0], &self.norm[1]]
    }

    fn stem(&self) -> Result<Tensor> {
        let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        max_pool2d(&conv2d(&self.image, &self.stem, config, Arithmetic::default())?, 3, 2, 1)
    }

    /// A residual block, whose input has two uses.
    fn block(&self, x: &Tensor) -> Result<Tensor> {
        let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let [weight, bias] = &self.norm;
        let (statistics, source) = (&batch_statistics(x)?, StatisticsSource::Batch);
        let norm = BatchNorm { weight, bias, statistics, source, eps: 1e-5 };
        let inside = batch_norm_relu_conv2d(x, norm, &self.three, config, Arithmetic::default())?;
        conv2d_add(&inside, &self.one, Conv2dConfig::default(), x, Arithmetic::default())
    }

    fn require_equal(&self, found: &Gradients, expected: &Gradients) -> Result<()> {
        for variable in self.all() {
            let values =
                |gradients: &Gradients| gradients.get(variable).unwrap().flatten_all()?.to_vec1::<f32>();
            assert_eq!(values(found)?, values(expected)?);
        }
        Ok(())
    }
}

#[test]
fn gradients_are_those_of_kept_maps_bit_for_bit() -> Result<()> {
    let weights = Weights::new()?;
    let tape = Tape::start();
    let x = weights.stem()?;
    let expected = tape.backward(&weights.block(&weights.block(&x)?)?)?;

    let computed = Rc::new(Cell::new(0));
    let block = |x: &Tensor| {
        let (again, weights, computed) = (weights.clone(), &weights, Rc::clone(&computed));
        recompute(
            x,
            |x| weights.block(x),
            move |x| {
                computed.set(computed.get() + 1);
                again.block(x)
            },
        )
    };
    let tape = Tape::start();
    let y = block(&block(&weights.stem()?)?)?;
    assert_eq!(computed.get(), 0);
    weights.require_equal(&tape.backward(&y)?, &expected)?;
    assert_eq!(computed.get(), 2);
    Ok(())
}

#[test]
fn operations_of_candle_may_stand_before_in_and_after_the_layers() -> Result<()> {
    let weights = Weights::new()?;
    let layers = |weights: &Weights, x: &Tensor| weights.block(&(x * 0.5)?)?.affine(1.5, 0.25);
    let tape = Tape::start();
    let x = (weights.stem()? + 1.0)?;
    let expected = tape.backward(&(layers(&weights, &x)? * 2.0)?)?;

    let tape = Tape::start();
    let (x, again) = ((weights.stem()? + 1.0)?, weights.clone());
    let y = recompute(&x, |x| layers(&weights, x), move |x| layers(&again, x))?;
    weights.require_equal(&tape.backward(&(y * 2.0)?)?, &expected)
}

#[test]
fn a_gradient_with_another_use_is_not_overwritten() -> Result<()> {
    let weights = Weights::new()?;
    let sum = |[left, right]: [Tensor; 2]| {
        // Both get the same gradient.
        conv2d_add(&left, &weights.one, Conv2dConfig::default(), &right, Arithmetic::default())
    };
    let tape = Tape::start();
    let x = weights.stem()?;
    let expected = tape.backward(&sum([x.clone(), weights.block(&x)?])?)?;

    let tape = Tape::start();
    let (x, again) = (weights.stem()?, weights.clone());
    let y = recompute(&x, |x| weights.block(x), move |x| again.block(x))?;
    weights.require_equal(&tape.backward(&sum([x, y])?)?, &expected)
}

#[test]
fn every_gradient_is_announced_once_and_complete() -> Result<()> {
    let weights = Weights::new()?;
    let again = weights.clone();
    let tape = Tape::start();
    let x = weights.stem()?;
    let y = recompute(&x, |x| weights.block(x), move |x| again.block(x))?;
    // The weights of the layers have a use outside.
    let y = weights.block(&y)?;
    let mut announced: Vec<(TensorId, Vec<f32>)> = Vec::new();
    let gradients = tape.backward_with(&y, |id, gradient| {
        announced.push((id, gradient.flatten_all()?.to_vec1()?));
        Ok(())
    })?;
    assert_eq!(announced.len(), weights.all().len());
    for variable in weights.all() {
        let [(_, values)] = announced.iter().filter(|(id, _)| *id == variable.id()).collect::<Vec<_>>()[..]
        else {
            panic!("announced more than once, or not at all");
        };
        assert_eq!(*values, gradients.get(variable).unwrap().flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(())
}

#[test]
fn layers_without_variables_are_computed_once() -> Result<()> {
    let x = random(&[1, 5, 3, 2], 0)?;
    let tape = Tape::start();
    let y = recompute(&x, |x| max_pool2d(x, 3, 2, 1), |_| unreachable!("nothing asks for a gradient"))?;
    assert!(!y.track_op() && tape.backward(&y)?.get(&x).is_none());
    Ok(())
}
