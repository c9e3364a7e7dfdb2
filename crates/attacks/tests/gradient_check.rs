//! The check finds a gradient that lacks a part and accepts a right one.

use candle_core::{DType, Device, Result, Tensor};
use rand::RngExt;
use robustseg_attacks::{Error, GradientCheck, IGNORE_LABEL, Model, channels_first, check_gradient};
use robustseg_random::stream;

const CHANNELS: usize = 16;
const CLASSES: usize = 5;

fn weights(shape: &[usize], scale: f64, seed: u64) -> Result<Tensor> {
    let random = &mut stream(seed, "weights", [0; 3]);
    let fan_in: usize = shape[1..].iter().product();
    let limit = scale * (3.0 / fan_in as f64).sqrt();
    let values = (0..shape.iter().product()).map(|_| (limit * (2.0 * random.random::<f64>() - 1.0)) as f32);
    Tensor::from_vec(values.collect::<Vec<f32>>(), shape, &Device::Cpu)
}

/// An image of flat areas, some of them black or white, and labels in squares. Some squares have no
/// label.
fn scene() -> Result<(Tensor, Tensor)> {
    let (h, w) = (48, 64);
    let shade = |i: usize| [0.0, 1.0, 0.3, 0.7][(i / w % h / 9 + i % w / 11 + i / (h * w)) % 4];
    let label = |i: usize| [0, 1, 2, 3, 4, IGNORE_LABEL][(i / w / 8 + i % w / 8) % 6];
    let image =
        Tensor::from_vec((0..3 * h * w).map(shade).collect::<Vec<f32>>(), (1, 3, h, w), &Device::Cpu)?;
    Ok((image, Tensor::from_vec((0..h * w).map(label).collect::<Vec<u8>>(), (1, h, w), &Device::Cpu)?))
}

fn check(model: &dyn Model) -> robustseg_attacks::Result<GradientCheck> {
    let (image, label) = scene()?;
    Ok(check_gradient(model, &image, &label)?.expect("an image with labels"))
}

/// Blocks `x + relu(conv(norm(x)))` with the norm over channels, as in transformers and `ConvNeXt`.
fn residual(
    seed: u64,
    norm: impl Fn(&Tensor) -> Result<Tensor> + 'static,
) -> Result<impl Fn(&Tensor) -> Result<Tensor>> {
    let stem = weights(&[CHANNELS, 3, 3, 3], 4.0, seed)?;
    let convolution = |block| weights(&[CHANNELS, CHANNELS, 3, 3], 1.0, 100 * (seed + 1) + block);
    let blocks = (0..4).map(convolution).collect::<Result<Vec<_>>>()?;
    let head = weights(&[CLASSES, CHANNELS, 1, 1], 3.0, 50 + seed)?;
    Ok(move |image: &Tensor| {
        let mut x = (image - 0.5)?.conv2d(&stem, 1, 1, 1, 1)?;
        for block in &blocks {
            let normed =
                norm(&x.permute((0, 2, 3, 1))?.contiguous()?)?.permute((0, 3, 1, 2))?.contiguous()?;
            x = (&x + normed.conv2d(block, 1, 1, 1, 1)?.relu()?)?;
        }
        x.conv2d(&head, 0, 1, 1, 1)?.permute((0, 2, 3, 1))?.contiguous()
    })
}

fn ones_and_zeros() -> (Tensor, Tensor) {
    let one = Tensor::ones(CHANNELS, DType::F32, &Device::Cpu).expect("a vector");
    (one.clone(), one.zeros_like().expect("a vector"))
}

#[test]
fn a_residual_model_with_a_cut_norm_is_refused_and_with_a_differentiable_one_passes() {
    use candle_nn::ops::{layer_norm, layer_norm_slow, rms_norm, rms_norm_slow};
    let (one, zero) = ones_and_zeros();
    for seed in 0..3 {
        let (a, b) = (one.clone(), zero.clone());
        let cut = residual(seed, move |x| layer_norm(x, &a, &b, 1e-5)).unwrap();
        let (a, b) = (one.clone(), zero.clone());
        let whole = residual(seed, move |x| layer_norm_slow(x, &a, &b, 1e-5)).unwrap();
        let error = check(&cut).unwrap_err();
        assert!(matches!(error, Error::WrongGradient { .. }), "{error}");
        assert!(error.to_string().contains("layer_norm_slow"), "{error}");
        let found = check(&whole).unwrap();
        assert!(found.agrees(), "{found:?}");
        let a = one.clone();
        let cut = residual(seed, move |x| rms_norm(x, &a, 1e-5)).unwrap();
        assert!(matches!(check(&cut), Err(Error::WrongGradient { .. })), "{:?}", check(&cut));
        let a = one.clone();
        let found = check(&residual(seed, move |x| rms_norm_slow(x, &a, 1e-5)).unwrap()).unwrap();
        assert!(found.agrees(), "{found:?}");
    }
}

#[test]
fn a_smooth_model_costs_four_passes_and_a_wrong_one_not_many_more() {
    let weight = weights(&[CLASSES, 3, 3, 3], 3.0, 1).unwrap();
    // Only `share` of the gradient is left.
    let model = |share: f64| {
        let weight = weight.clone();
        channels_first(move |image: &Tensor| {
            let seen = ((image * share)? + (image.detach() * (1.0 - share))?)?;
            seen.conv2d(&weight, 1, 1, 1, 1)
        })
    };
    let whole = check(&model(1.0)).unwrap();
    assert!(whole.forward == 4 && whole.agrees(), "{whole:?}");
    assert!(whole.disagreement() < 0.01, "{whole:?}");
    // A gradient that is too small by a tenth is a warning; one that is too small by half is an
    // error.
    let most = check(&model(0.9)).unwrap();
    assert!(!most.agrees() && (most.along - 1.0 / 9.0).abs() < 0.01, "{most:?}");
    assert!(most.forward <= 50 && most.complaint().is_some_and(|text| text.contains("11 %")), "{most:?}");
    assert!(
        matches!(check(&model(0.5)), Err(Error::WrongGradient { along, .. }) if (along - 1.0).abs() < 0.1)
    );
}

#[test]
fn saturation_kinks_and_large_losses_do_not_count_as_disagreement() {
    let weight = weights(&[CLASSES, 3, 3, 3], 1.7, 9).unwrap();
    let (image, label) = scene().unwrap();
    for gain in [1e-6, 1.0, 100.0, 1e4] {
        let weight = weight.clone();
        let model =
            channels_first(move |x: &Tensor| x.conv2d(&weight, 1, 1, 1, 1)?.relu()?.affine(gain, 0.0));
        // Labels that are right nearly everywhere, with a loss near 0, and labels that are not.
        let own = model.logits(&image).unwrap().argmax(3).unwrap().to_dtype(DType::U8).unwrap();
        for label in [&own, &label] {
            let found = check_gradient(&model, &image, label).unwrap().unwrap();
            assert!(found.agrees(), "gain {gain}: {found:?}");
        }
    }
}

#[test]
fn a_pool_over_flat_areas_agrees_and_candles_whose_gradient_is_too_short_is_refused() {
    let [first, last] = [[8, 3, 3, 3], [CLASSES, 8, 3, 3]].map(|shape| weights(&shape, 3.0, 3).unwrap());
    let model = |pool: fn(&Tensor) -> Result<Tensor>| {
        let (first, last) = (first.clone(), last.clone());
        channels_first(move |x: &Tensor| {
            pool(&x.conv2d(&first, 1, 1, 1, 1)?.relu()?)?.conv2d(&last, 1, 1, 1, 1)
        })
    };
    let ours = model(|x| {
        let x = x.permute((0, 2, 3, 1))?.contiguous()?;
        robustseg_ops::max_pool2d(&x, 2, 2, 0)?.permute((0, 3, 1, 2))?.contiguous()
    });
    let found = check(&ours).unwrap();
    assert!(found.agrees(), "{found:?}");
    // The largest value of a window gets a quarter of its gradient.
    let error = check(&model(|x| x.max_pool2d(2))).unwrap_err();
    assert!(matches!(error, Error::WrongGradient { along, .. } if along > 0.5), "{error}");
}

#[test]
fn rounding_to_few_digits_does_not_count_as_disagreement() {
    for seed in 0..4 {
        let [first, last] =
            [[CHANNELS, 3, 3, 3], [CLASSES, CHANNELS, 3, 3]].map(|shape| weights(&shape, 2.0, seed).unwrap());
        let round = |x: Tensor| x.to_dtype(DType::BF16)?.to_dtype(DType::F32);
        let model = channels_first(move |x: &Tensor| {
            let seen = round(round((x - 0.5)?)?.conv2d(&first, 1, 1, 1, 1)?)?.relu()?;
            round(seen.conv2d(&last, 1, 1, 1, 1)?)
        });
        let found = check(&model).unwrap();
        assert!(found.disagreement() < 0.15, "{found:?}");
    }
}

#[test]
fn a_gradient_of_zero_agrees_with_a_loss_that_does_not_move() {
    let flat = channels_first(|x: &Tensor| x.affine(1.0, -3.0)?.relu());
    let (image, _) = scene().unwrap();
    let label = Tensor::zeros((1, 48, 64), DType::U8, &Device::Cpu).unwrap();
    let found = check_gradient(&flat, &image, &label).unwrap().unwrap();
    assert_eq!((found.along, found.across), (0.0, 0.0));
    // The same with a slope that the gradient does not see.
    let cut = channels_first(|x: &Tensor| x.affine(1.0, -3.0)?.relu()? + (x.detach() * 20.0)?);
    assert!(matches!(check_gradient(&cut, &image, &label), Err(Error::WrongGradient { .. })));
}

#[test]
fn images_without_labels_and_surrogate_gradients_are_not_compared() {
    struct Surrogate;
    impl Model for Surrogate {
        fn logits(&self, image: &Tensor) -> Result<Tensor> {
            ((image * 0.2)? + image.detach())?.permute((0, 2, 3, 1))?.contiguous()
        }
        fn has_surrogate_gradient(&self) -> bool {
            true
        }
    }
    let (image, _) = scene().unwrap();
    let label = Tensor::zeros((1, 48, 64), DType::U8, &Device::Cpu).unwrap();
    assert_eq!(check_gradient(&Surrogate, &image, &label).unwrap(), None);
    let model = |image: &Tensor| Surrogate.logits(image);
    let blank = Tensor::full(IGNORE_LABEL, label.shape(), &Device::Cpu).unwrap();
    assert_eq!(check_gradient(&model, &image, &blank).unwrap(), None);
    // The check uses the first labelled image of the batch.
    let [images, labels] = [[&image, &image], [&blank, &label]].map(|pair| Tensor::cat(&pair, 0).unwrap());
    assert!(matches!(check_gradient(&model, &images, &labels), Err(Error::WrongGradient { .. })));
    assert!(matches!(check_gradient(&model, &(image * 2.0).unwrap(), &label), Err(Error::Input { .. })));
}
