//! Softmax, its logarithm, candle's `flip` and downsampling, as evaluation protocols use them.

use crate::check::{check_gradient, flat, random, relative_l2};
use candle_core::{Device, Result, Tensor};
use robustseg_ops::{
    Alignment, PixelObjective, log_probabilities, pixel_objective_per_image, softmax, upsample_bilinear,
};

#[test]
fn gradients_of_probabilities_and_flips() {
    for shape in [[2, 3, 5, 4], [1, 7, 2, 3]] {
        let x = [(random(&shape, 5) * 3.0).unwrap()];
        check_gradient(&x, 1e-2, 1e-2, |a| softmax(&a[0]));
        check_gradient(&x, 1e-2, 1e-2, |a| log_probabilities(&softmax(&a[0])?));
        for axis in 0..4 {
            check_gradient(&x, 1e-2, 1e-3, |a| a[0].flip(&[axis]));
        }
    }
}

#[test]
fn gradients_of_a_map_that_shrinks() {
    for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
        for (from, to) in [([1, 9, 7, 2], [4, 5]), ([2, 5, 11, 1], [3, 2]), ([1, 6, 3, 2], [1, 7])] {
            check_gradient(&[random(&from, 6)], 1e-2, 1e-3, |a| {
                upsample_bilinear(&a[0], to[0], to[1], alignment)
            });
        }
    }
}

#[test]
fn logarithms_of_probabilities_have_the_cross_entropy_of_the_logits() -> Result<()> {
    let logits = (random(&[2, 5, 3, 4], 7) * 20.0)?;
    let label = crate::check::labels(&[2, 5, 3], 4);
    let of = |logits: &Tensor| {
        pixel_objective_per_image(logits, &label, PixelObjective::CrossEntropy, Alignment::HalfPixel)
    };
    let again = log_probabilities(&softmax(&logits)?)?;
    assert!(relative_l2(&flat(&of(&again)?), &flat(&of(&logits)?)) < 1e-6);
    // A class that is impossible in f32 costs much, but no infinity.
    let certain = Tensor::new(&[[[[0_f32, 300.0]]]], &Device::Cpu)?;
    let label = Tensor::zeros((1, 1, 1), candle_core::DType::U8, &Device::Cpu)?;
    let loss = pixel_objective_per_image(
        &log_probabilities(&softmax(&certain)?)?,
        &label,
        PixelObjective::CrossEntropy,
        Alignment::HalfPixel,
    )?;
    assert!((flat(&loss)[0] - 69.08).abs() < 0.01, "{loss}");
    Ok(())
}
