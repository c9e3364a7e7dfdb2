//! The operations of transformers and of their kin.

use std::slice::from_ref;

use candle_core::{DType, Tensor};
use robustseg_ops::{
    Alignment, Conv2dConfig, add_bias, attention, conv2d_upsampled_add, depthwise_conv2d, gelu, layer_norm,
    upsample_bilinear_add,
};

use crate::EXACT;
use crate::compare::{gpu, outcome, random, same};

#[test]
fn gelus() {
    for (seed, size) in [(1000, [2, 3, 5, 7]), (1001, [1, 9, 11, 16])] {
        let x = (random(seed, &size) * 5.0).unwrap();
        same(&format!("gelu {size:?}"), from_ref(&x), 1, |t| gelu(&t[0]));
    }
}

/// Channels for one thread of a row, for a few, for a whole warp, and for several rounds of one.
#[test]
fn layer_norms() {
    for (index, size) in
        [[2, 5, 7, 3], [1, 9, 11, 16], [3, 4, 5, 40], [1, 3, 2, 264], [1, 2, 3, 77], [2, 33, 37, 8]]
            .into_iter()
            .enumerate()
    {
        let (seed, channels) = (1010 + 10 * index as u64, size[3]);
        let x = ((random(seed, &size) * 3.0).unwrap() + 2.0).unwrap();
        let arguments = [x, random(seed + 1, &[channels]), random(seed + 2, &[channels])];
        same(&format!("layer_norm {size:?}"), &arguments, 1, |t| layer_norm(&t[0], &t[1], &t[2], 1e-3));
    }
}

#[test]
fn depthwise_convolutions() {
    for (index, (size, [height, width], stride, padding, dilation)) in [
        ([2, 5, 7, 3], [3, 3], 1, 1, 1),
        ([1, 9, 13, 16], [7, 7], 1, 3, 1),
        ([1, 7, 10, 8], [3, 3], 2, 1, 1),
        ([1, 9, 7, 2], [3, 3], 1, 2, 2),
        ([1, 8, 9, 264], [2, 3], 3, 1, 2),
        ([2, 1, 1, 4], [7, 7], 1, 3, 1),
        ([1, 6, 5, 3], [3, 5], 1, 4, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let (seed, channels) = (1100 + 10 * index as u64, size[3]);
        let config = Conv2dConfig { stride, padding, dilation };
        let arguments = [
            random(seed, &size),
            random(seed + 1, &[channels, height, width, 1]),
            random(seed + 2, &[channels]),
        ];
        same(&format!("depthwise_conv2d {size:?} {config:?}"), &arguments, 1, |t| {
            depthwise_conv2d(&t[0], &t[1], &t[2], config)
        });
    }
}

/// More images than heads, fewer, and more scores than are computed at once.
#[test]
fn attentions() {
    for (index, (query, keys, heads)) in [
        ([2, 3, 5, 6], [1, 2], 2),
        ([1, 7, 9, 20], [5, 9], 5),
        ([3, 2, 1, 8], [1, 1], 1),
        ([3, 5, 3, 16], [3, 4], 2),
    ]
    .into_iter()
    .enumerate()
    {
        let seed = 1200 + 10 * index as u64;
        let key_value = random(seed, &[query[0], keys[0], keys[1], 2 * query[3]]);
        let arguments = [(random(seed + 1, &query) * 3.0).unwrap(), key_value];
        same(&format!("attention {query:?} {keys:?} {heads}"), &arguments, 2, |t| {
            attention(&t[0], &t[1], heads)
        });
    }
    let key_value = random(1290, &[1, 1, 2003, 4]);
    same("attention in blocks", &[random(1291, &[1, 1, 2101, 2]), key_value], 0, |t| {
        attention(&t[0], &t[1], 1)
    });
}

#[test]
fn sums_with_upsampled_maps() {
    for (seed, channels) in [(1300, 6), (1310, 40)] {
        let (x, residual) = (random(seed, &[2, 3, 4, channels]), random(seed + 1, &[2, 7, 9, 5]));
        let arguments = [x.clone(), random(seed + 2, &[5, 3, 3, channels]), residual];
        same(&format!("conv2d_upsampled_add {channels}"), &arguments, 3, |t| {
            conv2d_upsampled_add(&t[0], &t[1], &t[2], Alignment::HalfPixel, EXACT)
        });
        let arguments = [x, random(seed + 3, &[2, 7, 9, channels])];
        same(&format!("upsample_bilinear_add {channels}"), &arguments, 2, |t| {
            upsample_bilinear_add(&t[0], &t[1], Alignment::AlignCorners)
        });
        let arguments = [random(seed + 4, &[3, 5, 7, channels]), random(seed + 5, &[channels])];
        same(&format!("add_bias {channels}"), &arguments, 1, |t| add_bias(&t[0], &t[1]));
    }
}

/// A tensor's values, in order.
fn bits(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn repeated_gradients_have_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let (x, vectors) = (random(1400, &[3, 17, 19, 40]), [random(1401, &[40]), random(1402, &[40])]);
    let kernel = random(1403, &[40, 3, 3, 1]);
    let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    let arguments = [x, vectors[0].clone(), vectors[1].clone(), kernel];
    let work = |t: &[Tensor]| {
        let y = layer_norm(&depthwise_conv2d(&t[0], &t[3], &t[2], config)?, &t[1], &t[2], 1e-3)?;
        attention(&gelu(&y)?, &Tensor::cat(&[&y, &t[0]], 3)?, 5)
    };
    let types = [DType::F32; 4];
    let all = || outcome(&arguments, &gpu, &types, &work).unwrap().iter().map(bits).collect::<Vec<_>>();
    let first = all();
    assert!((0..3).all(|_| all() == first));
}
