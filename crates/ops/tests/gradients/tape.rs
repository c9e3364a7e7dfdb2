//! Tapes against candle's backward pass.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use robustseg_ops::{
    BatchNorm, Conv2dConfig, StatisticsSource, Tape, batch_norm, batch_norm_add_relu, batch_norm_relu,
    batch_statistics, conv2d, conv2d_add, gelu, recompute,
};

use crate::check::{EXACT, flat, random, relative_l2};

const CHANNELS: usize = 4;

fn variable(shape: &[usize], seed: u64) -> Var {
    Var::from_tensor(&random(shape, seed)).unwrap()
}

/// An image, a convolution weight, and the weight and bias of a norm.
fn leaves() -> [Var; 4] {
    [
        variable(&[2, 3, 5, CHANNELS], 1),
        variable(&[CHANNELS, 1, 1, CHANNELS], 2),
        variable(&[CHANNELS], 3),
        variable(&[CHANNELS], 4),
    ]
}

/// A computation of `draws` steps, each of which reads any results before it. A third of the steps
/// are candle's.
fn computation([image, kernel, weight, bias]: [&Tensor; 4], draws: usize, seed: u64) -> Result<Tensor> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let config = Conv2dConfig::default();
    let mut made = vec![image.clone()];
    for _ in 0..draws {
        let mut any = || made[rng.random_range(0..made.len())].clone();
        let (x, y) = (any(), any());
        let statistics = batch_statistics(&x)?;
        let source = StatisticsSource::Batch;
        let norm = BatchNorm { weight, bias, statistics: &statistics, source, eps: 0.1 };
        let step = match rng.random_range(0..10) {
            0 => conv2d(&x, kernel, config, EXACT)?,
            1 => conv2d_add(&x, kernel, config, &y, EXACT)?,
            2 => batch_norm(&x, norm)?,
            3 => batch_norm_relu(&x, weight, bias, &statistics, source, 0.1)?,
            4 => batch_norm_add_relu(&x, norm, &y)?,
            5 => gelu(&x)?,
            6 => (&x + &y)?,
            7 => {
                let (kernel, y) = (kernel.clone(), y.clone());
                let layers = move |x: &Tensor| conv2d_add(&gelu(x)?, &kernel, config, &(x + &y)?, EXACT);
                recompute(&x, &layers, layers.clone())?
            }
            8 => (x.transpose(1, 2)?.transpose(1, 2)? * 0.5)?,
            _ => x.reshape((30, CHANNELS))?.tanh()?.broadcast_mul(weight)?.reshape(y.shape())?,
        };
        made.push(step);
    }
    let [first, .., last] = &made[..] else { return Ok(made[0].clone()) };
    first + last
}

#[test]
fn any_computation_has_the_gradients_that_candle_finds() {
    for seed in 0..200 {
        let leaves = leaves();
        let run = || computation(leaves.each_ref().map(Var::as_tensor), 12, seed).unwrap();
        let expected = run().sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let tape = Tape::start();
        let mut complete = HashMap::new();
        let found = tape.backward_with(&run().sqr().unwrap(), |variable, gradient| {
            assert!(complete.insert(variable, flat(gradient)).is_none(), "{seed}: passed twice");
            Ok(())
        });
        let found = found.unwrap();
        for (index, leaf) in leaves.iter().enumerate() {
            match (found.get(leaf), expected.get(leaf)) {
                (Some(found), Some(expected)) => {
                    let error = relative_l2(&flat(found), &flat(expected));
                    assert!(error < 1e-5, "computation {seed}, leaf {index}: relative error {error}");
                    assert_eq!(complete.remove(&leaf.id()), Some(flat(found)), "{seed}, {index}: changed");
                }
                (found, expected) => assert_eq!(found.is_some(), expected.is_some(), "{seed}, {index}"),
            }
        }
    }
}

#[test]
fn a_gradient_is_passed_on_before_earlier_operations_are_read() -> Result<()> {
    let [image, first, ..] = leaves();
    let last = variable(&[CHANNELS, 1, 1, CHANNELS], 5);
    let run = |x: &Tensor, kernel: &Var| conv2d(x, kernel, Conv2dConfig::default(), EXACT);
    let tape = Tape::start();
    let middle = run(&run(&image, &first)?, &last)?;
    let mut complete = Vec::new();
    tape.backward_with(&run(&middle, &first)?, |variable, _| {
        complete.push(variable);
        Ok(())
    })?;
    assert_eq!(complete, [last.id(), image.id(), first.id()]);
    Ok(())
}

#[test]
fn an_error_of_the_callback_ends_the_backward_pass() -> Result<()> {
    let [image, kernel, ..] = leaves();
    let tape = Tape::start();
    let scores = conv2d(&image, &kernel, Conv2dConfig::default(), EXACT)?;
    let error = tape.backward_with(&scores, |_, _| candle_core::bail!("disconnected")).unwrap_err();
    assert!(error.to_string().contains("disconnected"));
    Ok(())
}

#[test]
fn a_tape_within_a_tape_leaves_the_outer_one_as_it_was() -> Result<()> {
    let [image, kernel, ..] = leaves();
    let run = |x: &Tensor| conv2d(x, &kernel, Conv2dConfig::default(), EXACT);
    let outer = Tape::start();
    let scores = run(&image)?;
    let inner = Tape::start();
    let gradients = inner.backward(&run(&scores)?)?;
    assert!(gradients.get(&scores).is_some(), "results of the outer tape are variables of the inner");
    assert!(gradients.get(&image).is_none());
    let gradients = outer.backward(&scores)?;
    let expected = run(&image)?.sum_all()?.backward()?;
    assert_eq!(flat(gradients.get(&image).unwrap()), flat(expected.get(&image).unwrap()));
    Ok(())
}

#[test]
fn a_tape_that_is_dropped_records_no_more() -> Result<()> {
    let [image, kernel, ..] = leaves();
    let run = || conv2d(&image, &kernel, Conv2dConfig::default(), EXACT);
    let tape = Tape::start();
    let forgotten = Tape::start();
    drop(tape);
    drop(forgotten);
    assert!(run()?.sum_all()?.backward()?.get(&image).is_some(), "candle records again");
    Ok(())
}

#[test]
fn values_that_depend_on_no_variable_have_no_gradients() -> Result<()> {
    let constant = Tensor::ones(3, DType::F32, &Device::Cpu)?;
    let variable = Var::ones(3, DType::F32, &Device::Cpu)?;
    assert!(Tape::start().backward(&constant)?.get(&variable).is_none());
    let gradients = Tape::start().backward(&variable)?;
    assert_eq!(flat(gradients.get(&variable).unwrap()), [1.0; 3]);
    Ok(())
}
