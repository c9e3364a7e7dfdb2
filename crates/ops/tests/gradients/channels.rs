//! Arithmetic on each channel, and the operations of candle's that the network uses.

use crate::check::{check_gradient, random};
use candle_core::Tensor;
use robustseg_ops::{add_bias, normalise_image, scale_channels, scale_rows};

#[test]
fn bias_gradients() {
    check_gradient(&[random(&[2, 3, 5, 4], 1), random(&[4], 2)], 0.5, 1e-5, |a| add_bias(&a[0], &a[1]));
}

#[test]
fn entry_and_channel_scale_gradients() {
    let (mean, std) = ([0.4, 0.5, 0.6], [0.2, 0.3, 0.5]);
    check_gradient(&[random(&[2, 3, 5, 4], 1)], 0.5, 1e-4, |a| normalise_image(&a[0], &mean, &std));
    let scale = random(&[2, 3], 4);
    check_gradient(&[random(&[2, 4, 5, 3], 1)], 0.5, 1e-4, |a| scale_channels(&a[0], &scale));
}

#[test]
fn row_scale_gradients() {
    check_gradient(&[random(&[4, 3, 2], 1), random(&[4], 2)], 0.5, 1e-4, |a| scale_rows(&a[0], &a[1]));
}

#[test]
fn candle_operations_that_the_network_uses_have_right_gradients() {
    let arguments = [random(&[2, 2, 2, 3], 1), random(&[2, 3, 3, 3], 2)];
    check_gradient(&arguments, 0.5, 1e-4, |a| {
        Tensor::cat(&[a[0].flatten(1, 2)?, a[1].flatten(1, 2)?, a[0].flatten(1, 2)?], 1)
    });
    check_gradient(&[random(&[2, 3, 4, 5], 1)], 0.5, 1e-4, |a| a[0].permute((0, 2, 3, 1))?.contiguous());
}
