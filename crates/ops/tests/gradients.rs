//! Every operation against a plain reference, and its gradient against finite differences, on odd, non-square
//! sizes.

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use robustseg_ops::{
    Alignment, BatchNorm, BatchStatistics, Conv2dConfig, PixelObjective, StatisticsSource,
    adaptive_avg_pool2d, add_bias, batch_norm_relu, batch_norm_relu_conv2d, batch_statistics, conv2d,
    conv2d_add, conv2d_pyramid, max_pool2d, normalise_image, pixel_objective_mean, pixel_objective_per_image,
    predict, scale_channels, upsample_bilinear,
};

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..shape.iter().product()).map(|_| rng.random_range(-1.0_f32..1.0)).collect();
    Tensor::from_vec::<_, f32>(values, shape, &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn relative_l2(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut actual.iter().zip(expected).map(|(a, b)| f64::from(a - b)));
    difference / norm(&mut expected.iter().map(|b| f64::from(*b))).max(1e-12)
}

/// Compares the gradient of `sum(weights * f(arguments))` with central differences, in every coordinate of
/// every argument.
fn check_gradient(arguments: &[Tensor], step: f32, tolerance: f64, f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let value = |arguments: &[Tensor]| -> f64 {
        let out = flat(&f(arguments).unwrap());
        let weights = flat(&random(&[out.len()], 99));
        out.iter().zip(&weights).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let vars: Vec<Var> = arguments.iter().map(|a| Var::from_tensor(a).unwrap()).collect();
    let tracked: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let out = f(&tracked).unwrap();
    let weights = random(&[out.elem_count()], 99).reshape(out.shape()).unwrap();
    let gradients = (out * weights).unwrap().sum_all().unwrap().backward().unwrap();
    for (index, var) in vars.iter().enumerate() {
        let analytic = flat(gradients.get(var).expect("a gradient for each argument"));
        let start = flat(&arguments[index]);
        let numeric: Vec<f32> = (0..start.len())
            .map(|at| {
                let mut shifted = arguments.to_vec();
                let mut at_offset = |offset: f32| {
                    let mut values = start.clone();
                    values[at] += offset;
                    shifted[index] =
                        Tensor::from_vec(values, arguments[index].shape(), &Device::Cpu).unwrap();
                    value(&shifted)
                };
                ((at_offset(step) - at_offset(-step)) / f64::from(2.0 * step)) as f32
            })
            .collect();
        let error = relative_l2(&analytic, &numeric);
        assert!(error < tolerance, "argument {index}: relative error {error}");
    }
}

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

/// (input (N, H, W, I), outputs, kernel, configuration): strided, dilated, uneven, smaller than the kernel's reach.
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
        let out = flat(&conv2d(&x, &w, config).unwrap());
        let error = relative_l2(&out, &reference_conv(&x, &w, config));
        assert!(error < 1e-6, "{shape:?} {config:?}: {error}");
    }
}

#[test]
fn convolution_of_many_channels_and_pixels_crosses_all_blocks() {
    let config = Conv2dConfig { stride: 1, padding: 2, dilation: 2 };
    let (x, w) = (random(&[2, 37, 29, 130], 1), random(&[9, 3, 3, 130], 2));
    let (vx, vw) = (Var::from_tensor(&x).unwrap(), Var::from_tensor(&w).unwrap());
    let out = conv2d(&vx, &vw, config).unwrap();
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

/// Input, outputs and dilation of convolutions that are computed by Winograd's algorithm.
const WINOGRAD: [([usize; 4], usize, usize); 5] = [
    ([2, 9, 14, 64], 80, 1),
    ([1, 17, 5, 320], 64, 1),
    ([1, 13, 21, 64], 64, 2),
    ([3, 19, 3, 64], 96, 4),
    ([2, 1, 1, 64], 64, 4),
];

#[test]
fn winograd_convolution_and_its_gradients_are_their_definitions() {
    for (shape, outputs, dilation) in WINOGRAD {
        let config = Conv2dConfig { stride: 1, padding: dilation, dilation };
        let [n, height, width, inputs] = shape;
        let (x, w) = (random(&shape, 1), random(&[outputs, 3, 3, inputs], 2));
        let dy = random(&[n, height, width, outputs], 3);
        let (vx, vw) = (Var::from_tensor(&x).unwrap(), Var::from_tensor(&w).unwrap());
        let out = conv2d(&vx, &vw, config).unwrap();
        let near = |actual: &Tensor, expected: &[f32], what: &str| {
            let error = relative_l2(&flat(actual), expected);
            assert!(error < 3e-6, "{what} of {shape:?} at dilation {dilation}: {error}");
        };
        near(&out, &reference_conv(&x, &w, config), "output");
        let gradients = (out * &dy).unwrap().sum_all().unwrap().backward().unwrap();
        // The input's gradient convolves the output's with the taps in reverse, inputs and outputs exchanged.
        let turned = (0..9).rev().map(|tap| w.narrow(1, tap / 3, 1).unwrap().narrow(2, tap % 3, 1).unwrap());
        let turned: Vec<Tensor> = turned.map(|tap| tap.permute((3, 1, 2, 0)).unwrap()).collect();
        let turned = Tensor::cat(&turned, 2).unwrap().reshape((inputs, 3, 3, outputs)).unwrap();
        near(gradients.get(&vx).unwrap(), &reference_conv(&dy, &turned, config), "input gradient");
        // The weights' gradient convolves the input, images for channels, with the output's gradient.
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
        check_gradient(&arguments, 0.5, 1e-4, |a| conv2d(&a[0], &a[1], config));
        let residual = conv2d(&arguments[0], &arguments[1], config).unwrap();
        let [x, w] = arguments;
        let arguments = [x, w, random(residual.dims(), 5)];
        check_gradient(&arguments, 0.5, 1e-4, |a| conv2d_add(&a[0], &a[1], config, &a[2]));
    }
}

#[test]
fn detached_arguments_get_no_gradient() {
    let (x, w) = (random(&[1, 5, 6, 2], 1), random(&[3, 3, 3, 2], 2));
    let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    let (vx, vw) = (Var::from_tensor(&x).unwrap(), Var::from_tensor(&w).unwrap());
    let both = conv2d(&vx, &vw, config).unwrap().sum_all().unwrap().backward().unwrap();
    let image = conv2d(&vx, &vw.as_detached_tensor(), config).unwrap();
    let image = image.sum_all().unwrap().backward().unwrap();
    assert!(image.get(&vw).is_none());
    assert_eq!(flat(image.get(&vx).unwrap()), flat(both.get(&vx).unwrap()));
    let weight = conv2d(&vx.as_detached_tensor(), &vw, config).unwrap();
    let weight = weight.sum_all().unwrap().backward().unwrap();
    assert!(weight.get(&vx).is_none());
    assert_eq!(flat(weight.get(&vw).unwrap()), flat(both.get(&vw).unwrap()));
}

/// Input (N, H, W, I), bins, channels of a level, outputs, kernel.
type PyramidCase = ([usize; 4], &'static [usize], usize, usize, usize);

/// Maps smaller than the bins, and larger.
const PYRAMIDS: [PyramidCase; 4] = [
    ([2, 7, 5, 3], &[1, 2, 3], 2, 4, 3),
    ([1, 9, 14, 2], &[1, 2, 3, 6], 3, 2, 3),
    ([1, 1, 2, 2], &[2, 3], 1, 3, 3),
    ([1, 4, 6, 1], &[3], 2, 2, 5),
];

fn pyramid_arguments(case: &PyramidCase) -> [Tensor; 3] {
    let (shape, bins, channels, outputs, kernel) = case;
    let positions = bins.iter().map(|bins| bins * bins).sum();
    [
        random(shape, 1),
        random(&[shape[0], positions, *channels], 2),
        random(&[*outputs, *kernel, *kernel, shape[3] + channels * bins.len()], 3),
    ]
}

/// The map beside the upsampled levels, convolved as one.
fn concatenated(
    x: &Tensor,
    levels: &Tensor,
    weight: &Tensor,
    bins: &[usize],
    alignment: Alignment,
) -> Result<Tensor> {
    let (images, height, width, _) = x.dims4()?;
    let (_, _, channels) = levels.dims3()?;
    let (mut maps, mut start) = (vec![x.clone()], 0);
    for &bins in bins {
        let level = levels.narrow(1, start, bins * bins)?.reshape((images, bins, bins, channels))?;
        maps.push(upsample_bilinear(&level, height, width, alignment)?);
        start += bins * bins;
    }
    let config = Conv2dConfig { padding: weight.dim(1)? / 2, ..Conv2dConfig::default() };
    conv2d(&Tensor::cat(&maps, 3)?, weight, config)
}

#[test]
fn pyramid_convolution_is_that_of_the_upsampled_maps() {
    for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
        for case in &PYRAMIDS {
            let [x, levels, weight] = pyramid_arguments(case);
            let ours = conv2d_pyramid(&x, &levels, &weight, case.1, alignment).unwrap();
            let plain = concatenated(&x, &levels, &weight, case.1, alignment).unwrap();
            let error = relative_l2(&flat(&ours), &flat(&plain));
            assert!(error < 1e-6, "{case:?} {alignment:?}: {error}");
        }
    }
}

#[test]
fn pyramid_convolution_gradients() {
    for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
        for case in &PYRAMIDS {
            check_gradient(&pyramid_arguments(case), 0.5, 1e-4, |a| {
                conv2d_pyramid(&a[0], &a[1], &a[2], case.1, alignment)
            });
        }
    }
    // Each gradient alone is what it is beside the others.
    let arguments = pyramid_arguments(&PYRAMIDS[0]);
    let run = |tracked: &[Tensor]| {
        let alignment = Alignment::HalfPixel;
        conv2d_pyramid(&tracked[0], &tracked[1], &tracked[2], PYRAMIDS[0].1, alignment)?.sqr()?.backward()
    };
    let vars = arguments.each_ref().map(|argument| Var::from_tensor(argument).unwrap());
    let all = run(&vars.each_ref().map(|var| var.as_tensor().clone())).unwrap();
    for (index, var) in vars.iter().enumerate() {
        let mut tracked = arguments.clone();
        tracked[index] = var.as_tensor().clone();
        let alone = run(&tracked).unwrap();
        assert_eq!(flat(alone.get(var).unwrap()), flat(all.get(var).unwrap()));
    }
}

#[test]
fn bias_gradients() {
    check_gradient(&[random(&[2, 3, 5, 4], 1), random(&[4], 2)], 0.5, 1e-5, |a| add_bias(&a[0], &a[1]));
}

#[test]
fn batch_statistics_are_mean_and_variance() {
    let x = (random(&[3, 7, 5, 6], 1) + 100.0).unwrap();
    let statistics = batch_statistics(&x).unwrap();
    let values = flat(&x);
    for channel in 0..6 {
        let column: Vec<f64> = values.iter().skip(channel).step_by(6).map(|v| f64::from(*v)).collect();
        let mean = column.iter().sum::<f64>() / column.len() as f64;
        let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / column.len() as f64;
        assert!((f64::from(flat(&statistics.mean)[channel]) - mean).abs() < 1e-5);
        assert!((f64::from(flat(&statistics.variance)[channel]) - variance).abs() < 1e-5);
    }
}

#[test]
fn batch_norm_gradients() {
    // Kept away from the kink of ReLU by large biases of both signs.
    let arguments = [
        random(&[2, 5, 3, 4], 1),
        random(&[4], 2),
        Tensor::new(&[4_f32, -4., 5., 3.], &Device::Cpu).unwrap(),
    ];
    check_gradient(&arguments, 1e-2, 2e-3, |a| {
        let statistics = batch_statistics(&a[0])?;
        batch_norm_relu(&a[0], &a[1], &a[2], &statistics, StatisticsSource::Batch, 1e-5)
    });
    let fixed =
        BatchStatistics { mean: random(&[4], 7), variance: (random(&[4], 8).sqr().unwrap() + 0.5).unwrap() };
    check_gradient(&arguments, 1e-2, 2e-3, |a| {
        batch_norm_relu(&a[0], &a[1], &a[2], &fixed, StatisticsSource::Running, 1e-5)
    });
}

#[test]
fn norm_and_convolution_as_one_are_both_in_turn() {
    let arguments = [
        random(&[2, 5, 7, 4], 1),
        random(&[4], 2),
        Tensor::new(&[4_f32, -0.4, 0.5, 3.], &Device::Cpu).unwrap(),
        random(&[3, 3, 3, 4], 3),
    ];
    let config = Conv2dConfig { stride: 2, padding: 1, dilation: 1 };
    for source in [StatisticsSource::Batch, StatisticsSource::Running] {
        let statistics = match source {
            StatisticsSource::Batch => batch_statistics(&arguments[0]).unwrap(),
            StatisticsSource::Running => {
                BatchStatistics { mean: random(&[4], 7), variance: random(&[4], 8).sqr().unwrap() }
            }
        };
        // Every subset of tracked arguments.
        for tracked in 0..16 {
            let vars = arguments.each_ref().map(|argument| Var::from_tensor(argument).unwrap());
            let inputs: Vec<Tensor> = (0..4)
                .map(|index| match tracked >> index & 1 {
                    1 => vars[index].as_tensor().clone(),
                    _ => arguments[index].clone(),
                })
                .collect();
            let [x, weight, bias, kernel] = &inputs[..] else { unreachable!() };
            let norm = BatchNorm { weight, bias, statistics: &statistics, source, eps: 1e-5 };
            let one = batch_norm_relu_conv2d(x, norm, kernel, config).unwrap();
            let activated = batch_norm_relu(x, weight, bias, &statistics, source, 1e-5).unwrap();
            let two = conv2d(&activated, kernel, config).unwrap();
            assert_eq!(flat(&one), flat(&two));
            if tracked == 0 {
                continue;
            }
            let (one, two) = (one.sqr().unwrap().backward().unwrap(), two.sqr().unwrap().backward().unwrap());
            for var in &vars {
                assert_eq!(one.get(var).map(flat), two.get(var).map(flat), "{source:?}, tracked {tracked:b}");
            }
        }
    }
    // Kept away from the kink of ReLU, as above.
    let [x, weight, _, kernel] = arguments;
    let bias = Tensor::new(&[4_f32, -4., 5., 3.], &Device::Cpu).unwrap();
    check_gradient(&[x, weight, bias, kernel], 1e-2, 2e-3, |a| {
        let (statistics, source) = (batch_statistics(&a[0])?, StatisticsSource::Batch);
        let norm = BatchNorm { weight: &a[1], bias: &a[2], statistics: &statistics, source, eps: 1e-5 };
        batch_norm_relu_conv2d(&a[0], norm, &a[3], config)
    });
}

#[test]
fn relu_passes_no_gradient_at_zero() {
    let x = Var::zeros((1, 2, 2, 1), DType::F32, &Device::Cpu).unwrap();
    let (one, zero) = (random(&[1], 1), Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap());
    let statistics = BatchStatistics { mean: zero.clone(), variance: one.sqr().unwrap() };
    let out = batch_norm_relu(&x, &one, &zero, &statistics, StatisticsSource::Running, 1e-5).unwrap();
    let gradients = out.sum_all().unwrap().backward().unwrap();
    assert_eq!(flat(gradients.get(&x).unwrap()), [0.0; 4]);
}

#[test]
fn max_pool_takes_the_largest_and_its_gradient_goes_there() {
    for shape in [[2, 7, 5, 3], [1, 8, 9, 2], [1, 1, 1, 2], [1, 1, 6, 1]] {
        // Distinct values, so that a step does not change which is the largest.
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| ((i * 7919) % count) as f32).collect();
        let x = Tensor::from_vec(values, &shape[..], &Device::Cpu).unwrap();
        check_gradient(&[x], 0.25, 1e-5, |a| max_pool2d(&a[0], 3, 2, 1));
    }
    let x = Tensor::new(&[[[[1_f32], [2.], [0.]], [[5.], [4.], [3.]]]], &Device::Cpu).unwrap();
    assert_eq!(flat(&max_pool2d(&x, 3, 2, 1).unwrap()), [5.0, 4.0]);
}

#[test]
fn equal_values_send_the_gradient_of_max_pool_to_the_first() {
    let x = Var::ones((1, 3, 3, 1), DType::F32, &Device::Cpu).unwrap();
    let gradients = max_pool2d(&x, 3, 1, 0).unwrap().sum_all().unwrap().backward().unwrap();
    let mut first = [0.0; 9];
    first[0] = 1.0;
    assert_eq!(flat(gradients.get(&x).unwrap()), first);
}

#[test]
fn adaptive_average_gradients_with_uneven_bins() {
    for (shape, bins) in [([2, 7, 5, 3], 3), ([1, 5, 7, 2], 6), ([1, 6, 4, 2], 2), ([2, 3, 5, 1], 1)] {
        check_gradient(&[random(&shape, 1)], 0.5, 1e-4, |a| adaptive_avg_pool2d(&a[0], &[bins]));
        check_gradient(&[random(&shape, 1)], 0.5, 1e-4, |a| adaptive_avg_pool2d(&a[0], &[1, bins, 4]));
    }
    let x = Tensor::new(&[[[[1_f32], [2.], [6.]]]], &Device::Cpu).unwrap();
    assert_eq!(flat(&adaptive_avg_pool2d(&x, &[2, 1]).unwrap()), [1.5, 4.0, 1.5, 4.0, 3.0]);
}

#[test]
fn levels_of_many_channels_are_those_of_one_level_each() {
    let x = random(&[2, 7, 5, 300], 1);
    let all = adaptive_avg_pool2d(&x, &[1, 3]).unwrap();
    for (bins, start) in [(1, 0), (3, 1)] {
        let one = adaptive_avg_pool2d(&x, &[bins]).unwrap();
        assert_eq!(flat(&all.narrow(1, start, bins * bins).unwrap()), flat(&one));
    }
}

#[test]
fn upsampling_gradients() {
    for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
        for (shape, to) in [([2, 3, 5, 2], [7, 11]), ([1, 1, 4, 3], [5, 4]), ([1, 6, 5, 1], [4, 3])] {
            check_gradient(&[random(&shape, 1)], 0.5, 1e-4, |a| {
                upsample_bilinear(&a[0], to[0], to[1], alignment)
            });
        }
    }
}

#[test]
fn entry_and_channel_scale_gradients() {
    let (mean, std) = ([0.4, 0.5, 0.6], [0.2, 0.3, 0.5]);
    check_gradient(&[random(&[2, 3, 5, 4], 1)], 0.5, 1e-4, |a| normalise_image(&a[0], &mean, &std));
    let scale = random(&[2, 3], 4);
    check_gradient(&[random(&[2, 4, 5, 3], 1)], 0.5, 1e-4, |a| scale_channels(&a[0], &scale));
}

#[test]
fn candle_operations_that_the_network_uses_have_right_gradients() {
    let arguments = [random(&[2, 2, 2, 3], 1), random(&[2, 3, 3, 3], 2)];
    check_gradient(&arguments, 0.5, 1e-4, |a| {
        Tensor::cat(&[a[0].flatten(1, 2)?, a[1].flatten(1, 2)?, a[0].flatten(1, 2)?], 1)
    });
    check_gradient(&[random(&[2, 3, 4, 5], 1)], 0.5, 1e-4, |a| a[0].permute((0, 2, 3, 1))?.contiguous());
}

fn labels(shape: &[usize], classes: usize) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let values: Vec<u8> = (0..shape.iter().product::<usize>())
        .map(|_| match rng.random_range(0..classes + 1) {
            class if class == classes => 255,
            class => class as u8,
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

#[test]
fn objective_gradients() {
    // The weights of SegPGD and CosPGD are constants to the gradient, so differences do not show them; the
    // golden cases do.
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

/// What does not jump where a prediction changes, or is looked at where none does.
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
fn wrong_arguments_are_named() {
    let x = random(&[1, 4, 5, 3], 1);
    let message = |result: Result<Tensor>| result.unwrap_err().to_string();
    let config = Conv2dConfig::default();
    assert!(message(conv2d(&x, &random(&[2, 1, 1, 4], 1), config)).contains("3 input channels"));
    assert!(message(conv2d(&x, &random(&[2, 7, 7, 3], 1), config)).contains("kernel 7x7"));
    assert!(message(max_pool2d(&x, 3, 2, 2)).contains("half the kernel"));
    assert!(message(add_bias(&x, &random(&[2], 1))).contains("bias of 3"));
    let pyramid = |levels: &[usize], weight: &[usize]| {
        let (levels, weight) = (random(levels, 1), random(weight, 2));
        message(conv2d_pyramid(&x, &levels, &weight, &[1, 2], Alignment::HalfPixel))
    };
    assert!(pyramid(&[1, 5, 2], &[2, 2, 2, 7]).contains("odd size"));
    assert!(pyramid(&[1, 4, 2], &[2, 3, 3, 7]).contains("levels (1, 5, L)"));
    assert!(pyramid(&[1, 5, 2], &[2, 3, 3, 5]).contains("7 input channels"));
    let label = Tensor::new(&[[[0_u8, 3], [255, 2]]], &Device::Cpu).unwrap();
    let objective = PixelObjective::Gain;
    let wrong = message(pixel_objective_mean(&x, &label, objective, Alignment::HalfPixel));
    assert!(wrong.contains("label 3 at image 0, row 0, column 1"), "{wrong}");
}
