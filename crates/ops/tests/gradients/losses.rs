//! Losses over the labelled pixels of a batch.

use crate::check::{check_gradient, flat, labels, random};
use candle_core::{Device, Result, Tensor, Var};
use robustseg_ops::{
    Alignment, Hardest, PixelObjective, dice_loss, lovasz_softmax, ohem_cross_entropy, pixel_objective_mean,
    weighted_cross_entropy,
};

const SIZES: [([usize; 4], [usize; 3]); 3] =
    [([2, 5, 3, 4], [2, 37, 21]), ([1, 4, 7, 3], [1, 4, 7]), ([1, 1, 1, 5], [1, 9, 2])];

/// Checks the gradient of `loss` of (logits, labels) on odd sizes.
fn check(step: f32, loss: impl Fn(&Tensor, &Tensor, Alignment) -> Result<Tensor>) {
    for (small, full) in SIZES {
        let (logits, label) = ([(random(&small, 3) * 3.0).unwrap()], labels(&full, small[3]));
        for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
            check_gradient(&logits, step, 2e-2, |a| loss(&a[0], &label, alignment));
        }
    }
}

#[test]
fn weighted_cross_entropy_gradients() {
    check(1e-3, |logits, label, alignment| {
        weighted_cross_entropy(logits, label, &[0.5, 2.0, 1.0, 0.0, 3.0][..logits.dim(3)?], alignment)
    });
}

#[test]
fn ohem_gradients() {
    // Shares of 0 and 1, between which no pixel moves when logits do.
    for hardest in [Hardest { threshold: 1.0, share: 0.0 }, Hardest { threshold: 0.0, share: 1.0 }] {
        check(1e-3, |logits, label, alignment| ohem_cross_entropy(logits, label, hardest, None, alignment));
    }
}

#[test]
fn dice_gradients() {
    for smooth in [0.0, 2.5] {
        check(3e-3, |logits, label, alignment| dice_loss(logits, label, smooth, alignment));
    }
}

#[test]
fn lovasz_gradients() {
    for per_image in [false, true] {
        check(1e-3, |logits, label, alignment| lovasz_softmax(logits, label, per_image, alignment));
    }
}

#[test]
fn equal_weights_and_all_pixels_give_the_mean_cross_entropy() -> Result<()> {
    let (small, full) = SIZES[0];
    let (logits, label) = (Var::from_tensor(&(random(&small, 3) * 3.0)?)?, labels(&full, small[3]));
    let of = |loss: Tensor| {
        Ok::<_, candle_core::Error>((flat(&loss), flat(&loss.backward()?.get(&logits).unwrap().clone())))
    };
    let alignment = Alignment::HalfPixel;
    let (value, gradient) =
        of(pixel_objective_mean(&logits, &label, PixelObjective::CrossEntropy, alignment)?)?;
    let every = Hardest { threshold: 0.0, share: 1.0 };
    for loss in [
        weighted_cross_entropy(&logits, &label, &[2.0; 4], alignment)?,
        ohem_cross_entropy(&logits, &label, every, None, alignment)?,
        ohem_cross_entropy(&logits, &label, every, Some(&[0.5; 4]), alignment)?,
    ] {
        let (found, slope) = of(loss)?;
        assert!((found[0] - value[0]).abs() < 1e-6);
        assert!(slope.iter().zip(&gradient).all(|(a, b)| (a - b).abs() < 1e-7));
    }
    Ok(())
}

#[test]
fn the_hardest_pixels_by_hand() -> Result<()> {
    // Softmax of the label: 1/2, 3/4, 1/4, 9/10.
    let odds = [1_f32, 3.0, 1.0 / 3.0, 9.0].map(|odds| [odds.ln(), 0.0]);
    let logits = Tensor::new(&[[odds]], &Device::Cpu)?;
    let label = Tensor::new(&[[[0_u8; 4]]], &Device::Cpu)?;
    let loss = |threshold, share| -> Result<f32> {
        ohem_cross_entropy(&logits, &label, Hardest { threshold, share }, None, Alignment::HalfPixel)?
            .to_scalar()
    };
    let mean = |kept: &[f32]| kept.iter().map(|p| -p.ln()).sum::<f32>() / kept.len() as f32;
    for (threshold, share, kept) in [
        (0.6, 0.0, &[0.5, 0.25][..]),
        (0.3, 0.0, &[0.25]),
        (0.1, 0.25, &[0.25]),
        (0.1, 0.75, &[0.5, 0.75, 0.25]),
        (0.8, 0.25, &[0.5, 0.75, 0.25]),
    ] {
        assert!((loss(threshold, share)? - mean(kept)).abs() < 1e-6, "{threshold} {share}");
    }
    // No pixel is hard enough.
    assert_eq!(loss(0.1, 0.0)?, 0.0);
    Ok(())
}

#[test]
fn without_labels_losses_and_gradients_are_zero() -> Result<()> {
    let logits = Var::from_tensor(&random(&[2, 3, 5, 4], 3))?;
    let none = Tensor::full(255_u8, (2, 7, 9), &Device::Cpu)?;
    let alignment = Alignment::HalfPixel;
    for loss in [
        weighted_cross_entropy(&logits, &none, &[1.0; 4], alignment)?,
        ohem_cross_entropy(&logits, &none, Hardest { threshold: 0.7, share: 0.1 }, None, alignment)?,
        dice_loss(&logits, &none, 0.0, alignment)?,
        lovasz_softmax(&logits, &none, false, alignment)?,
        lovasz_softmax(&logits, &none, true, alignment)?,
    ] {
        assert_eq!(loss.to_scalar::<f32>()?, 0.0);
        assert!(flat(loss.backward()?.get(&logits).unwrap()).iter().all(|slope| *slope == 0.0));
    }
    Ok(())
}

#[test]
fn bad_arguments_of_losses_are_named() -> Result<()> {
    let logits = random(&[2, 3, 5, 4], 3);
    let (label, alignment) = (labels(&[2, 7, 9], 4), Alignment::HalfPixel);
    let refusal = |loss: Result<Tensor>| loss.unwrap_err().to_string();
    let three = refusal(weighted_cross_entropy(&logits, &label, &[1.0; 3], alignment));
    assert!(three.contains("the weights of 4 classes, found 3"), "{three}");
    let negative = refusal(weighted_cross_entropy(&logits, &label, &[1.0, 1.0, -1.0, 1.0], alignment));
    assert!(negative.contains("at least 0, found -1"), "{negative}");
    let hardest = Hardest { threshold: 1.5, share: 0.1 };
    assert!(refusal(ohem_cross_entropy(&logits, &label, hardest, None, alignment)).contains("found 1.5"));
    assert!(refusal(dice_loss(&logits, &label, -1.0, alignment)).contains("found -1"));
    let mut foreign = vec![0_u8; 2 * 7 * 9];
    foreign[7 * 9 + 2 * 9 + 3] = 4;
    let foreign = Tensor::from_vec(foreign, (2, 7, 9), &Device::Cpu)?;
    for per_image in [false, true] {
        let message = refusal(lovasz_softmax(&logits, &foreign, per_image, alignment));
        assert!(message.contains("label 4 at image 1, row 2, column 3"), "{message}");
    }
    assert!(dice_loss(&logits, &labels(&[3, 7, 9], 4), 0.0, alignment).is_err());
    Ok(())
}
