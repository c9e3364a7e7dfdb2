//! Convolutions against their definition, and their gradients.

use crate::check::{EXACT, check_gradient, flat, random, relative_l2};
use candle_core::{Device, Tensor, Var};
use robustseg_ops::{Conv2dConfig, conv2d, conv2d_add};

/// A convolution by the definition, in f64.
fn reference_conv(x: &Tensor, weight: &Tensor, c: Conv2dConfig) -> Vec<f32> {
    let (n, height, width, inputs) = x.dims4().unwrap();
    let (outputs, kh, kw, _) = weight.dims4().unwrap();
    let (x, w) = (flat(x), flat(weight));
    let oh = c.output_size(height, kh).unwrap();
    let ow = c.output_size(width, kw).unwrap();
    let mut out = Vec::new();
    for image in 0..n {
        for y in 0..oh {
            for column in 0..ow {
                for o in 0..outputs {
                    let mut sum = 0.0_f64;
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let sy = (y * c.stride + ky * c.dilation).wrapping_sub(c.padding);
                            let sx = (column * c.stride + kx * c.dilation).wrapping_sub(c.padding);
                            if sy < height && sx < width {
                                for i in 0..inputs {
                                    let a = x[((image * height + sy) * width + sx) * inputs + i];
                                    let b = w[((o * kh + ky) * kw + kx) * inputs + i];
                                    sum += f64::from(a) * f64::from(b);
                                }
                            }
                        }
                    }
                    out.push(sum as f32);
                }
            }
        }
    }
    out
}

/// (input (N, H, W, I), outputs, kernel, configuration): strided, dilated, uneven, smaller than the
/// kernel's reach.
fn convolutions() -> Vec<([usize; 4], usize, [usize; 2], Conv2dConfig)> {
    let c = |stride, padding, dilation| Conv2dConfig { stride, padding, dilation };
    vec![
        ([2, 5, 7, 3], 4, [1, 1], c(1, 0, 1)),
        ([2, 5, 8, 3], 4, [1, 1], c(2, 0, 1)),
        ([1, 7, 6, 3], 5, [3, 3], c(1, 1, 1)),
        ([2, 7, 10, 2], 3, [3, 3], c(2, 1, 1)),
        ([1, 9, 7, 3], 2, [3, 3], c(1, 2, 2)),
        ([1, 5, 11, 3], 2, [3, 3], c(1, 4, 4)),
        ([1, 11, 14, 3], 4, [7, 7], c(2, 3, 1)),
        ([1, 8, 9, 2], 3, [2, 3], c(3, 1, 2)),
        ([1, 1, 1, 3], 2, [3, 3], c(2, 1, 1)),
        ([3, 1, 6, 2], 2, [3, 3], c(1, 1, 1)),
    ]
}

#[test]
fn convolution_is_its_definition() {
    for (shape, outputs, [kh, kw], config) in convolutions() {
        let (x, w) = (random(&shape, 1), random(&[outputs, kh, kw, shape[3]], 2));
        let out = flat(&conv2d(&x, &w, config, EXACT).unwrap());
        let error = relative_l2(&out, &reference_conv(&x, &w, config));
        assert!(error < 1e-6, "{shape:?} {config:?}: {error}");
    }
}

#[test]
fn convolution_of_many_channels_and_pixels_crosses_all_blocks() {
    let config = Conv2dConfig { stride: 1, padding: 2, dilation: 2 };
    let (x, w) = (random(&[2, 37, 29, 130], 1), random(&[9, 3, 3, 130], 2));
    let (vx, vw) = (Var::from_tensor(&x).unwrap(), Var::from_tensor(&w).unwrap());
    let out = conv2d(&vx, &vw, config, EXACT).unwrap();
    assert!(relative_l2(&flat(&out), &reference_conv(&x, &w, config)) < 1e-6);
    // <dy, conv(x, w)> is linear in x and in w, so both gradients must reproduce it.
    let dy = random(out.dims(), 3);
    let product: f64 = flat(&out).iter().zip(flat(&dy)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum();
    let gradients = (out * dy).unwrap().sum_all().unwrap().backward().unwrap();
    for (var, value) in [(&vx, &x), (&vw, &w)] {
        let gradient = flat(gradients.get(var).unwrap());
        let sum: f64 = gradient.iter().zip(flat(value)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum();
        assert!((sum - product).abs() < 1e-4 * product.abs().max(1.0), "{sum} against {product}");
    }
}

/// Input, outputs and dilation of convolutions that are computed by Winograd's algorithm, two of them in
/// several parts, and at the end of two whose tiles would be mostly outside the map.
const WINOGRAD: [([usize; 4], usize, usize); 8] = [
    ([2, 9, 14, 64], 80, 1),
    ([1, 17, 5, 320], 64, 1),
    ([1, 13, 21, 64], 64, 2),
    ([3, 19, 15, 64], 96, 4),
    ([1, 6, 5, 320], 560, 1),
    ([2, 5, 6, 560], 64, 1),
    ([2, 1, 1, 64], 64, 4),
    ([1, 11, 9, 64], 64, 10),
];

#[test]
fn winograd_convolution_and_its_gradients_are_their_definitions() {
    for (shape, outputs, dilation) in WINOGRAD {
        let config = Conv2dConfig { stride: 1, padding: dilation, dilation };
        let [n, height, width, inputs] = shape;
        let (x, w) = (random(&shape, 1), random(&[outputs, 3, 3, inputs], 2));
        let dy = random(&[n, height, width, outputs], 3);
        let (vx, vw) = (Var::from_tensor(&x).unwrap(), Var::from_tensor(&w).unwrap());
        let out = conv2d(&vx, &vw, config, EXACT).unwrap();
        let near = |actual: &Tensor, expected: &[f32], what: &str| {
            let error = relative_l2(&flat(actual), expected);
            assert!(error < 3e-6, "{what} of {shape:?} at dilation {dilation}: {error}");
        };
        near(&out, &reference_conv(&x, &w, config), "output");
        let gradients = (out * &dy).unwrap().sum_all().unwrap().backward().unwrap();
        // The input's gradient convolves the output's with the taps in reverse, inputs and outputs
        // exchanged.
        let turned = (0..9).rev().map(|tap| w.narrow(1, tap / 3, 1).unwrap().narrow(2, tap % 3, 1).unwrap());
        let turned: Vec<Tensor> = turned.map(|tap| tap.permute((3, 1, 2, 0)).unwrap()).collect();
        let turned = Tensor::cat(&turned, 2).unwrap().reshape((inputs, 3, 3, outputs)).unwrap();
        near(gradients.get(&vx).unwrap(), &reference_conv(&dy, &turned, config), "input gradient");
        // The weights' gradient convolves the input, images for channels, with the output's
        // gradient.
        let images = |t: &Tensor| t.permute((3, 1, 2, 0)).unwrap().contiguous().unwrap();
        let swapped = Conv2dConfig { stride: dilation, padding: dilation, dilation: 1 };
        let weights = reference_conv(&images(&x), &images(&dy), swapped);
        let weights = Tensor::from_vec(weights, (inputs, 3, 3, outputs), &Device::Cpu).unwrap();
        near(gradients.get(&vw).unwrap(), &flat(&images(&weights)), "weight gradient");
    }
}

#[test]
fn convolution_gradients() {
    for (shape, outputs, [kh, kw], config) in convolutions() {
        let arguments = [random(&shape, 1), random(&[outputs, kh, kw, shape[3]], 2)];
        check_gradient(&arguments, 0.5, 1e-4, |a| conv2d(&a[0], &a[1], config, EXACT));
        let residual = conv2d(&arguments[0], &arguments[1], config, EXACT).unwrap();
        let [x, w] = arguments;
        let arguments = [x, w, random(residual.dims(), 5)];
        check_gradient(&arguments, 0.5, 1e-4, |a| conv2d_add(&a[0], &a[1], config, &a[2], EXACT));
    }
}

#[test]
fn detached_arguments_get_no_gradient() {
    let (x, w) = (random(&[1, 5, 6, 2], 1), random(&[3, 3, 3, 2], 2));
    let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    let (vx, vw) = (Var::from_tensor(&x).unwrap(), Var::from_tensor(&w).unwrap());
    let both = conv2d(&vx, &vw, config, EXACT).unwrap().sum_all().unwrap().backward().unwrap();
    let image = conv2d(&vx, &vw.as_detached_tensor(), config, EXACT).unwrap();
    let image = image.sum_all().unwrap().backward().unwrap();
    assert!(image.get(&vw).is_none());
    assert_eq!(flat(image.get(&vx).unwrap()), flat(both.get(&vx).unwrap()));
    let weight = conv2d(&vx.as_detached_tensor(), &vw, config, EXACT).unwrap();
    let weight = weight.sum_all().unwrap().backward().unwrap();
    assert!(weight.get(&vx).is_none());
    assert_eq!(flat(weight.get(&vw).unwrap()), flat(both.get(&vw).unwrap()));
}
