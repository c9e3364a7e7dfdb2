//! Objectives and predictions at full size.

use crate::check::{check_gradient, flat, labels, random, relative_l2};
use candle_core::{Device, Tensor, Var};
use robustseg_ops::{
    Alignment, PixelObjective, gain_map, pixel_objective_mean, pixel_objective_per_image, predict,
    set_balanced_objective_per_image, upsample_bilinear,
};

#[test]
fn objective_gradients() {
    // The weights of SegPGD and CosPGD are constants to the gradient, so differences do not show
    // them; the golden cases do.
    for objective in [PixelObjective::CrossEntropy, PixelObjective::Gain] {
        for (small, full) in
            [([2, 5, 3, 4], [2, 37, 21]), ([1, 4, 7, 3], [1, 4, 7]), ([1, 1, 1, 5], [1, 9, 2])]
        {
            let label = labels(&full, small[3]);
            let logits = [(random(&small, 3) * 3.0).unwrap()];
            check_gradient(&logits, 1e-3, 2e-2, |a| {
                pixel_objective_per_image(&a[0], &label, objective, Alignment::HalfPixel)
            });
            check_gradient(&logits, 1e-3, 2e-2, |a| {
                pixel_objective_mean(&a[0], &label, objective, Alignment::AlignCorners)
            });
        }
    }
}

/// Objectives that are continuous where a prediction changes, and others where none changes.
#[test]
fn objective_gradients_of_sea() {
    use PixelObjective::{BalancedMaskedCrossEntropy, JensenShannon, MaskedCrossEntropy};
    for (objective, small, full) in [
        (JensenShannon, [2, 5, 3, 4], [2, 37, 21]),
        (JensenShannon, [1, 4, 7, 3], [1, 4, 7]),
        (MaskedCrossEntropy, [1, 4, 7, 3], [1, 4, 7]),
        (BalancedMaskedCrossEntropy, [2, 3, 4, 3], [2, 3, 4]),
    ] {
        let label = labels(&full, small[3]);
        let logits = [(random(&small, 3) * 3.0).unwrap()];
        check_gradient(&logits, 1e-3, 2e-2, |a| {
            pixel_objective_per_image(&a[0], &label, objective, Alignment::HalfPixel)
        });
    }
}

#[test]
fn objectives_of_sea_by_hand() {
    use PixelObjective::{BalancedMaskedCrossEntropy, CrossEntropy, JensenShannon, MaskedCrossEntropy};
    // Three pixels of class 0, the second of them wrong, one of class 1.
    let logits =
        Tensor::new(&[[[[2.0_f32, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.5]]]], &Device::Cpu).unwrap();
    let value = |label: &[u8], objective| {
        let label = Tensor::new(label, &Device::Cpu).unwrap().reshape((1, 1, 4)).unwrap();
        flat(&pixel_objective_per_image(&logits, &label, objective, Alignment::HalfPixel).unwrap())[0]
    };
    let alone = [2.0_f32, 1.0, 3.0, 0.5].map(|margin| (-margin).exp().ln_1p());
    let close = |found: f32, expected: f32| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    let label = [0, 0, 0, 1];
    close(value(&label, MaskedCrossEntropy), (alone[0] + alone[2] + alone[3]) / 4.0);
    // Class 0 weighs 4 / (2 x 3) a pixel, class 1 4 / (2 x 1).
    let balanced = (2.0 / 3.0 * (alone[0] + alone[2]) + 2.0 * alone[3]) / 4.0;
    close(value(&label, BalancedMaskedCrossEntropy), balanced);
    close(value(&[0, 255, 0, 1], MaskedCrossEntropy), value(&[0, 255, 0, 1], CrossEntropy));
    let divergence = |p: f32| {
        let relative = |p: f32, m: f32| p * (p / m).ln();
        let m = [f32::midpoint(p, 1.0), (1.0 - p) / 2.0];
        (relative(p, m[0]) + relative(1.0 - p, m[1]) + relative(1.0, m[0])) / 2.0
    };
    let expected = [alone[0], 1.0 + alone[1], alone[2], alone[3]].map(|entropy| divergence((-entropy).exp()));
    close(value(&label, JensenShannon), expected.iter().sum::<f32>() / 4.0);
    // A softmax of 0 or 1 is no trouble.
    let far = Tensor::new(&[[[[300.0_f32, 0.0], [0.0, 300.0]]]], &Device::Cpu).unwrap();
    let label = Tensor::new(&[[[0_u8, 0]]], &Device::Cpu).unwrap();
    let far = pixel_objective_per_image(&far, &label, JensenShannon, Alignment::HalfPixel).unwrap();
    close(flat(&far)[0], std::f32::consts::LN_2 / 2.0);
}

#[test]
fn classes_are_balanced_over_the_pixels_of_a_set() {
    let balanced = PixelObjective::BalancedMaskedCrossEntropy;
    // The counts of the image itself give the image's weights.
    let (small, full) = ([1, 3, 4, 3], [1, 23, 17]);
    let (logits, label) = ((random(&small, 3) * 3.0).unwrap(), labels(&full, small[3]));
    let pixels: Vec<u8> = label.flatten_all().unwrap().to_vec1().unwrap();
    let of_class = |class| pixels.iter().filter(|label| usize::from(**label) == class).count() as u64;
    let own = [0, 1, 2].map(of_class);
    let of_image = pixel_objective_per_image(&logits, &label, balanced, Alignment::HalfPixel).unwrap();
    let of_set = |counts: &[u64]| {
        flat(&set_balanced_objective_per_image(&logits, &label, counts, Alignment::HalfPixel).unwrap())
    };
    assert_eq!(of_set(&own), flat(&of_image));
    assert_eq!(of_set(&own.map(|count| 7 * count)), flat(&of_image));
    // Equal counts give weights of 1, and a class that the set lacks weighs nothing.
    let masked = PixelObjective::MaskedCrossEntropy;
    let masked = |label| pixel_objective_per_image(&logits, label, masked, Alignment::HalfPixel).unwrap();
    assert_eq!(of_set(&[5; 3]), flat(&masked(&label)));
    let parts = [[5, 0, 0], [0, 5, 0], [0, 0, 5]].map(|counts| of_set(&counts)[0]);
    assert!((parts.iter().sum::<f32>() - of_set(&[5; 3])[0]).abs() < 1e-6, "{parts:?}");
    let refusal = set_balanced_objective_per_image(&logits, &label, &[1, 2], Alignment::HalfPixel);
    assert!(refusal.unwrap_err().to_string().contains("expected the pixels of 3 classes, found 2 counts"));

    let (small, full) = ([2, 3, 4, 3], [2, 3, 4]);
    let (logits, label) = ([(random(&small, 3) * 3.0).unwrap()], labels(&full, small[3]));
    check_gradient(&logits, 1e-3, 2e-2, |a| {
        set_balanced_objective_per_image(&a[0], &label, &[90, 7, 3], Alignment::HalfPixel)
    });
}

#[test]
fn objective_gradients_of_tsallis() {
    for q in [-2.0, -0.3, 0.5, 0.999, 1.0] {
        for (small, full) in
            [([2, 5, 3, 4], [2, 11, 9]), ([1, 4, 7, 3], [1, 4, 7]), ([1, 1, 1, 5], [1, 9, 2])]
        {
            let label = labels(&full, small[3]);
            let logits = [(random(&small, 3) * 3.0).unwrap()];
            // The objective is flat where a pixel is wrong: shorter differences vanish in rounding.
            check_gradient(&logits, 1e-2, 2e-2, |a| {
                pixel_objective_per_image(&a[0], &label, PixelObjective::Tsallis { q }, Alignment::HalfPixel)
            });
        }
    }
}

#[test]
fn tsallis_cross_entropy_by_hand() {
    use PixelObjective::{CrossEntropy, Tsallis};
    // The softmax of label 0 is 1/2, 1/4 and about exp(-300).
    let three = 3.0_f32.ln();
    let logits = [[0.0_f32, 0.0], [0.0, three], [0.0, 300.0]];
    let value = |[a, b]: [f32; 2], objective| {
        let logits = Var::new(&[[[[a, b]]]], &Device::Cpu).unwrap();
        let label = Tensor::new(&[[[0_u8]]], &Device::Cpu).unwrap();
        let value = pixel_objective_per_image(&logits, &label, objective, Alignment::HalfPixel).unwrap();
        let gradients = value.sum_all().unwrap().backward().unwrap();
        (flat(&value)[0], flat(gradients.get(&logits).unwrap()))
    };
    let close = |found: f32, expected: f32| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    for (logits, p) in logits.into_iter().zip([0.5_f32, 0.25, 0.0]) {
        let (_, slope) = value(logits, CrossEntropy);
        // At q = 0 the objective is 1 - p, at q = -2 (1 - p^3) / 3.
        for (q, expected, weight) in [(0.0, 1.0 - p, p), (-2.0, (1.0 - p.powi(3)) / 3.0, p.powi(3))] {
            let (found, gradient) = value(logits, Tsallis { q });
            close(found, expected);
            gradient.iter().zip(&slope).for_each(|(found, slope)| close(*found, slope * weight));
        }
        // At q = 1 it is the cross-entropy, and next to it nearly so.
        assert_eq!(value(logits, Tsallis { q: 1.0 }), value(logits, CrossEntropy));
        let (near, far) = (value(logits, Tsallis { q: 1.0 - 1e-7 }).0, value(logits, CrossEntropy).0);
        assert!((near - far).abs() < 1e-4 * far, "{near} {far}");
    }
}

#[test]
fn fused_objective_equals_upsampling_first() {
    let (small, label) = ((random(&[2, 6, 5, 4], 3) * 3.0).unwrap(), labels(&[2, 41, 37], 4));
    for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
        let full = upsample_bilinear(&small, 41, 37, alignment).unwrap();
        for objective in [
            PixelObjective::CrossEntropy,
            PixelObjective::Gain,
            PixelObjective::SegPgd { lambda: 0.3 },
            PixelObjective::CosPgd,
            PixelObjective::MaskedCrossEntropy,
            PixelObjective::BalancedMaskedCrossEntropy,
            PixelObjective::JensenShannon,
            PixelObjective::Tsallis { q: -0.5 },
        ] {
            let value = |logits: &Tensor| {
                flat(&pixel_objective_per_image(logits, &label, objective, alignment).unwrap())
            };
            assert!(relative_l2(&value(&small), &value(&full)) < 1e-5);
        }
        assert_eq!(
            predict(&small, 41, 37, alignment).unwrap().flatten_all().unwrap().to_vec1::<u8>().unwrap(),
            predict(&full, 41, 37, alignment).unwrap().flatten_all().unwrap().to_vec1::<u8>().unwrap(),
        );
    }
}

#[test]
fn unlabelled_pixels_and_images_have_no_influence() {
    let logits = Var::from_tensor(&random(&[2, 4, 5, 3], 3)).unwrap();
    let mut values = labels(&[2, 4, 5], 3).flatten_all().unwrap().to_vec1::<u8>().unwrap();
    values[20..].fill(255);
    let label = Tensor::from_vec(values.clone(), (2, 4, 5), &Device::Cpu).unwrap();
    let per_image =
        pixel_objective_per_image(&logits, &label, PixelObjective::CrossEntropy, Alignment::HalfPixel)
            .unwrap();
    assert_eq!(flat(&per_image)[1], 0.0);
    let gradients = per_image.sum_all().unwrap().backward().unwrap();
    let gradient = flat(gradients.get(&logits).unwrap());
    for (pixel, label) in values.iter().enumerate() {
        let zero = gradient[pixel * 3..pixel * 3 + 3].iter().all(|g| *g == 0.0);
        assert_eq!(zero, *label == 255, "pixel {pixel} with label {label}");
    }
}

#[test]
fn the_mean_of_the_gain_map_is_the_gain() {
    for (small, full) in [([2, 5, 3, 4], [2, 37, 21]), ([1, 4, 7, 3], [1, 4, 7]), ([1, 1, 1, 5], [1, 9, 2])] {
        let (logits, label) = ((random(&small, 3) * 3.0).unwrap(), labels(&full, small[3]));
        for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
            let map = gain_map(&logits, &label, alignment).unwrap();
            assert_eq!(map.dims(), full);
            let expected =
                pixel_objective_per_image(&logits, &label, PixelObjective::Gain, alignment).unwrap();
            let truth = label.flatten_from(1).unwrap().to_vec2::<u8>().unwrap();
            let gains = map.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
            for ((gains, truth), expected) in gains.iter().zip(truth).zip(flat(&expected)) {
                let labelled: Vec<f32> = gains
                    .iter()
                    .zip(&truth)
                    .filter(|(_, label)| **label != 255)
                    .map(|(gain, _)| *gain)
                    .collect();
                let mean = labelled.iter().sum::<f32>() / labelled.len() as f32;
                assert!((mean - expected).abs() < 1e-4, "{mean}, not {expected}");
                let rest = gains.iter().zip(&truth).filter(|(_, label)| **label == 255);
                assert!(rest.into_iter().all(|(gain, _)| *gain == 0.0));
            }
        }
    }
    let logits = random(&[1, 2, 2, 3], 1);
    let foreign = Tensor::new(&[[[0_u8, 3], [255, 1]]], &Device::Cpu).unwrap();
    let error = gain_map(&logits, &foreign, Alignment::HalfPixel).unwrap_err().to_string();
    assert!(error.contains("label 3 at image 0, row 0, column 1"), "{error}");
    assert!(gain_map(&logits, &foreign.flatten_all().unwrap(), Alignment::HalfPixel).is_err());
}
