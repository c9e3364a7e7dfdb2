//! The operations of transformers and of their kin against their definitions, and their gradients.

use crate::check::{EXACT, check_gradient, flat, random, relative_l2};
use candle_core::{D, Tensor};
use robustseg_ops::{
    Alignment, Conv2dConfig, attention, conv2d, conv2d_bias, conv2d_upsampled_add, depthwise_conv2d, gelu,
    layer_norm, upsample_bilinear, upsample_bilinear_add,
};

/// (input (N, H, W, C), kernel, configuration): strided, dilated, uneven, wide enough for runs of
/// pixels, with channels that are and are no multiple of sixteen.
fn depthwise_convolutions() -> Vec<([usize; 4], [usize; 2], Conv2dConfig)> {
    let c = |stride, padding, dilation| Conv2dConfig { stride, padding, dilation };
    vec![
        ([2, 5, 7, 3], [3, 3], c(1, 1, 1)),
        ([1, 4, 13, 17], [3, 3], c(1, 1, 1)),
        ([1, 3, 19, 16], [7, 7], c(1, 3, 1)),
        ([1, 9, 8, 3], [7, 7], c(1, 3, 1)),
        ([1, 7, 10, 5], [3, 3], c(2, 1, 1)),
        ([1, 9, 7, 2], [3, 3], c(1, 2, 2)),
        ([1, 8, 9, 2], [2, 3], c(3, 1, 2)),
        ([2, 1, 1, 4], [7, 7], c(1, 3, 1)),
        ([1, 6, 5, 3], [3, 3], c(1, 4, 1)),
    ]
}

/// Each channel by itself, through the convolution that is checked elsewhere.
fn by_channel(x: &Tensor, weight: &Tensor, bias: &Tensor, config: Conv2dConfig) -> Vec<f32> {
    let channels = x.dim(3).unwrap();
    let one = |channel| {
        let (x, weight) = (x.narrow(3, channel, 1).unwrap(), weight.narrow(0, channel, 1).unwrap());
        conv2d(&x, &weight, config, EXACT).unwrap()
    };
    let all: Vec<Tensor> = (0..channels).map(one).collect();
    flat(&Tensor::cat(&all, 3).unwrap().broadcast_add(bias).unwrap())
}

#[test]
fn depthwise_convolution_is_a_convolution_of_each_channel() {
    for (shape, [kh, kw], config) in depthwise_convolutions() {
        let (x, bias) = (random(&shape, 1), random(&[shape[3]], 3));
        let weight = random(&[shape[3], kh, kw, 1], 2);
        let out = flat(&depthwise_conv2d(&x, &weight, &bias, config).unwrap());
        let error = relative_l2(&out, &by_channel(&x, &weight, &bias, config));
        assert!(error < 1e-6, "{shape:?} {config:?}: {error}");
    }
}

#[test]
fn depthwise_convolution_gradients() {
    for (shape, [kh, kw], config) in depthwise_convolutions() {
        let arguments = [random(&shape, 1), random(&[shape[3], kh, kw, 1], 2), random(&[shape[3]], 3)];
        check_gradient(&arguments, 0.5, 1e-4, |a| depthwise_conv2d(&a[0], &a[1], &a[2], config));
    }
}

#[test]
fn biased_convolution_is_a_convolution_and_a_bias() {
    for (shape, outputs, kernel, stride) in
        [([2, 5, 7, 3], 4, 1, 1), ([1, 9, 7, 5], 66, 1, 1), ([1, 11, 9, 3], 6, 7, 4), ([1, 6, 7, 3], 5, 2, 2)]
    {
        let config = Conv2dConfig { stride, padding: kernel / 2, dilation: 1 };
        let arguments =
            [random(&shape, 1), random(&[outputs, kernel, kernel, shape[3]], 2), random(&[outputs], 3)];
        let plain = conv2d(&arguments[0], &arguments[1], config, EXACT).unwrap();
        let plain = flat(&plain.broadcast_add(&arguments[2]).unwrap());
        let fused = conv2d_bias(&arguments[0], &arguments[1], &arguments[2], config, EXACT).unwrap();
        assert!(relative_l2(&flat(&fused), &plain) < 1e-6, "{shape:?}");
        if outputs < 10 {
            check_gradient(&arguments, 0.5, 1e-4, |a| conv2d_bias(&a[0], &a[1], &a[2], config, EXACT));
        }
    }
}

#[test]
fn layer_norm_is_its_definition() {
    for shape in [[2, 3, 5, 7], [1, 9, 11, 96], [1, 2, 1, 33]] {
        let (x, weight, bias) = (random(&shape, 1), random(&[shape[3]], 2), random(&[shape[3]], 3));
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1).unwrap()).unwrap();
        let variance = centred.sqr().unwrap().mean_keepdim(D::Minus1).unwrap();
        let normal = centred.broadcast_div(&(variance + 1e-5).unwrap().sqrt().unwrap()).unwrap();
        let expected = normal.broadcast_mul(&weight).unwrap().broadcast_add(&bias).unwrap();
        let out = layer_norm(&x, &weight, &bias, 1e-5).unwrap();
        assert!(relative_l2(&flat(&out), &flat(&expected)) < 1e-6, "{shape:?}");
    }
}

#[test]
fn layer_norm_gradients() {
    for shape in [[2, 3, 5, 7], [1, 2, 3, 37]] {
        let x = (random(&shape, 1) * 3.0).unwrap();
        let arguments = [x, random(&[shape[3]], 2), random(&[shape[3]], 3)];
        check_gradient(&arguments, 0.02, 2e-3, |a| layer_norm(&a[0], &a[1], &a[2], 1e-3));
    }
}

#[test]
fn gelu_is_its_definition_and_has_its_gradient() {
    let x = (random(&[2, 3, 5, 7], 1) * 4.0).unwrap();
    let expected = flat(&x.gelu_erf().unwrap());
    assert!(relative_l2(&flat(&gelu(&x).unwrap()), &expected) < 1e-6);
    check_gradient(&[x], 0.02, 1e-3, |a| gelu(&a[0]));
}

/// Attention by its definition, in candle's operations.
fn plain_attention(query: &Tensor, key_value: &Tensor, heads: usize) -> Vec<f32> {
    let (images, channels) = (query.dim(0).unwrap(), query.dim(D::Minus1).unwrap());
    let depth = channels / heads;
    let split = |x: &Tensor, start: usize| {
        let x = x.reshape((images, (), x.dim(D::Minus1).unwrap())).unwrap();
        let x = x.narrow(2, start, channels).unwrap().contiguous().unwrap();
        let x = x.reshape((images, (), heads, depth)).unwrap();
        x.transpose(1, 2).unwrap().contiguous().unwrap()
    };
    let (query, key, value) = (split(query, 0), split(key_value, 0), split(key_value, channels));
    let scores = (query.matmul(&key.t().unwrap()).unwrap() / (depth as f64).sqrt()).unwrap();
    let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1).unwrap()).unwrap().exp().unwrap();
    let weights = scores.broadcast_div(&scores.sum_keepdim(D::Minus1).unwrap()).unwrap();
    flat(&weights.matmul(&value).unwrap().transpose(1, 2).unwrap())
}

#[test]
fn attention_is_its_definition() {
    for (query, keys, heads) in [
        ([2, 3, 5, 6], [1, 2], 2),
        ([1, 37, 41, 20], [7, 9], 5),
        ([2, 1, 1, 8], [1, 1], 1),
        ([1, 3, 3, 64], [17, 19], 2),
    ] {
        let key_value = random(&[query[0], keys[0], keys[1], 2 * query[3]], 2);
        let query = (random(&query, 1) * 4.0).unwrap();
        let out = attention(&query, &key_value, heads).unwrap();
        let error = relative_l2(&flat(&out), &plain_attention(&query, &key_value, heads));
        assert!(error < 2e-6, "{:?}: {error}", query.dims());
    }
}

#[test]
fn attention_gradients() {
    for (query, keys, heads) in
        [([2, 3, 5, 6], [2, 3], 2), ([1, 5, 7, 6], [3, 1], 3), ([1, 2, 2, 5], [2, 4], 1)]
    {
        let key_value = random(&[query[0], keys[0], keys[1], 2 * query[3]], 2);
        check_gradient(&[random(&query, 1), key_value], 0.05, 2e-3, |a| attention(&a[0], &a[1], heads));
    }
}

#[test]
fn gradients_of_many_queries_reproduce_the_output() {
    // The output is linear in the values, so their gradient must reproduce it.
    let (query, key_value) = (random(&[2, 31, 37, 12], 1), random(&[2, 11, 13, 24], 2));
    let variable = candle_core::Var::from_tensor(&key_value).unwrap();
    let out = attention(&query, &variable, 3).unwrap();
    let dy = random(out.dims(), 3);
    let product: f64 = flat(&out).iter().zip(flat(&dy)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum();
    let gradients = (out * dy).unwrap().sum_all().unwrap().backward().unwrap();
    let gradient = gradients.get(&variable).unwrap();
    let values = |tensor: &Tensor| flat(&tensor.narrow(3, 12, 12).unwrap());
    let pairs = values(gradient).into_iter().zip(values(&key_value));
    let sum: f64 = pairs.map(|(a, b)| f64::from(a) * f64::from(b)).sum();
    assert!((sum - product).abs() < 1e-4 * product.abs().max(1.0), "{sum} against {product}");
}

#[test]
fn upsampling_onto_a_map_is_upsampling_and_a_sum() {
    for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
        for (small, large) in [([2, 3, 4, 3], [2, 7, 9, 3]), ([1, 3, 5, 2], [1, 3, 5, 2])] {
            let arguments = [random(&small, 1), random(&large, 2)];
            let plain = upsample_bilinear(&arguments[0], large[1], large[2], alignment).unwrap();
            let plain = flat(&(plain + &arguments[1]).unwrap());
            let fused = upsample_bilinear_add(&arguments[0], &arguments[1], alignment).unwrap();
            assert!(relative_l2(&flat(&fused), &plain) < 1e-6);
            check_gradient(&arguments, 0.5, 1e-4, |a| upsample_bilinear_add(&a[0], &a[1], alignment));
        }
    }
}

#[test]
fn convolution_of_an_upsampled_map_is_its_definition() {
    for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
        for (small, kernel, large) in [
            ([2, 3, 4, 3], 3, [2, 7, 9, 2]),
            ([1, 1, 1, 2], 3, [1, 3, 5, 3]),
            ([1, 3, 2, 2], 5, [1, 8, 7, 2]),
            ([1, 4, 3, 2], 1, [1, 5, 6, 2]),
            ([1, 4, 5, 2], 3, [1, 4, 5, 2]),
        ] {
            let weight = random(&[large[3], kernel, kernel, small[3]], 2);
            let arguments = [random(&small, 1), weight, random(&large, 3)];
            let config = Conv2dConfig { padding: kernel / 2, ..Conv2dConfig::default() };
            let up = upsample_bilinear(&arguments[0], large[1], large[2], alignment).unwrap();
            let plain = (conv2d(&up, &arguments[1], config, EXACT).unwrap() + &arguments[2]).unwrap();
            let of = |a: &[Tensor]| conv2d_upsampled_add(&a[0], &a[1], &a[2], alignment, EXACT);
            let error = relative_l2(&flat(&of(&arguments).unwrap()), &flat(&plain));
            assert!(error < 1e-6, "{small:?} {kernel}: {error}");
            check_gradient(&arguments, 0.5, 1e-4, of);
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let x = candle_core::Var::from_tensor(&random(&[2, 37, 41, 32], 1)).unwrap();
            let weight = candle_core::Var::from_tensor(&random(&[32, 7, 7, 1], 2)).unwrap();
            let bias = candle_core::Var::from_tensor(&random(&[32], 3)).unwrap();
            let config = Conv2dConfig { padding: 3, ..Conv2dConfig::default() };
            let y = depthwise_conv2d(&x, &weight, &bias, config).unwrap();
            let y = gelu(&layer_norm(&y, &bias, &bias, 1e-6).unwrap()).unwrap();
            let key_value = random(&[2, 9, 5, 64], 4);
            let y = attention(&y, &key_value, 4).unwrap();
            let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            [&x, &weight, &bias].map(|variable| flat(gradients.get(variable).unwrap()))
        })
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn arguments_that_do_not_fit_are_named() {
    let x = random(&[1, 4, 5, 4], 1);
    let message = |result: candle_core::Result<Tensor>| result.unwrap_err().to_string();
    let (config, bias) = (Conv2dConfig::default(), random(&[4], 2));
    let depthwise =
        |weight: &[usize], bias: &Tensor| message(depthwise_conv2d(&x, &random(weight, 1), bias, config));
    assert!(depthwise(&[4, 3, 3, 2], &bias).contains("weight (4, KH, KW, 1)"));
    assert!(depthwise(&[4, 7, 7, 1], &bias).contains("kernel 7x7"));
    assert!(depthwise(&[4, 3, 3, 1], &random(&[3], 1)).contains("bias of 4"));
    assert!(message(layer_norm(&x, &random(&[3], 1), &bias, 1e-6)).contains("each of 4 channels"));
    assert!(message(attention(&x, &random(&[1, 2, 2, 8], 1), 3)).contains("3 heads"));
    assert!(message(attention(&x, &random(&[1, 2, 2, 4], 1), 2)).contains("(1, ..., 8)"));
    let weight = random(&[3, 1, 1, 4], 1);
    assert!(message(conv2d_bias(&x, &weight, &bias, config, EXACT)).contains("bias of 3"));
    let larger = random(&[1, 8, 9, 3], 1);
    assert!(
        message(upsample_bilinear_add(&x, &larger, Alignment::HalfPixel)).contains("residual (1, H, W, 4)")
    );
}
