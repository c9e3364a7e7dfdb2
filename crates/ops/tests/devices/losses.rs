//! Losses of training and the clipping of gradients.

use std::slice::from_ref;

use candle_core::{Result, Tensor, Var};
use robustseg_ops::{
    Alignment, Hardest, Tape, clip_gradients, dice_loss, lovasz_softmax, ohem_cross_entropy,
    weighted_cross_entropy,
};

use crate::compare::{difference, gpu, labels, random, same};

#[test]
fn losses() {
    for (index, (small, full, classes)) in
        [([2, 3, 5], [23, 37], 4), ([1, 7, 2], [13, 9], 21)].into_iter().enumerate()
    {
        let seed = 900 + 10 * index as u64;
        let [images, height, width] = small;
        let logits = (random(seed, &[images, height, width, classes]) * 4.0).unwrap();
        let label = labels(seed + 1, &[images, full[0], full[1]], classes as u8);
        let weights: Vec<f32> = (0..classes).map(|class| 0.5 + class as f32 / 3.0).collect();
        for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
            let of = |name: &str, loss: &dyn Fn(&Tensor, &Tensor) -> Result<Tensor>| {
                same(&format!("{name} {small:?} {alignment:?}"), from_ref(&logits), 0, |t| {
                    loss(&t[0], &label.to_device(t[0].device())?)?.reshape(1)
                });
            };
            of("weighted_cross_entropy", &|logits, label| {
                weighted_cross_entropy(logits, label, &weights, alignment)
            });
            of("ohem_cross_entropy", &|logits, label| {
                let hardest = Hardest { threshold: 0.4, share: 0.25 };
                ohem_cross_entropy(logits, label, hardest, Some(&weights), alignment)
            });
            of("dice_loss", &|logits, label| dice_loss(logits, label, 0.5, alignment));
            of("lovasz_softmax", &|logits, label| lovasz_softmax(logits, label, true, alignment));
        }
    }
}

#[test]
fn clipped_gradients() {
    let Some(gpu) = gpu() else { return };
    let values = [random(930, &[3, 5, 7]), random(931, &[11])];
    let clipped = |values: &[Tensor; 2]| -> Result<Vec<Tensor>> {
        let variables: Vec<Var> = values.iter().map(Var::from_tensor).collect::<Result<_>>()?;
        let tape = Tape::start();
        let mut gradients = tape.backward(&(variables[0].sum_all()? + (variables[1].sum_all()? * 2.0)?)?)?;
        let tensors: Vec<&Tensor> = variables.iter().map(Var::as_tensor).collect();
        clip_gradients(&tensors, &mut gradients, 0.5)?;
        Ok(tensors.iter().map(|tensor| gradients.get(tensor).expect("a gradient").clone()).collect())
    };
    let here = clipped(&values).unwrap();
    let there = clipped(&values.map(|value| value.to_device(&gpu).unwrap())).unwrap();
    for (here, there) in here.iter().zip(&there) {
        assert!(difference(here, there) < 1e-6);
    }
}
