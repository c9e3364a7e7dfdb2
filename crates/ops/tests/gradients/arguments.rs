//! Messages about arguments that do not fit.

use crate::check::{EXACT, random};
use candle_core::{Device, Result, Tensor};
use robustseg_ops::{
    Alignment, Conv2dConfig, PixelObjective, add_bias, conv2d, conv2d_pyramid, max_pool2d,
    pixel_objective_mean,
};

#[test]
fn wrong_arguments_are_named() {
    let x = random(&[1, 4, 5, 3], 1);
    let message = |result: Result<Tensor>| result.unwrap_err().to_string();
    let config = Conv2dConfig::default();
    assert!(message(conv2d(&x, &random(&[2, 1, 1, 4], 1), config, EXACT)).contains("3 input channels"));
    assert!(message(conv2d(&x, &random(&[2, 7, 7, 3], 1), config, EXACT)).contains("kernel 7x7"));
    assert!(message(max_pool2d(&x, 3, 2, 2)).contains("half the kernel"));
    assert!(message(add_bias(&x, &random(&[2], 1))).contains("bias of 3"));
    let pyramid = |levels: &[usize], weight: &[usize]| {
        let (levels, weight) = (random(levels, 1), random(weight, 2));
        message(conv2d_pyramid(&x, &levels, &weight, &[1, 2], Alignment::HalfPixel, EXACT))
    };
    assert!(pyramid(&[1, 5, 2], &[2, 2, 2, 7]).contains("odd size"));
    assert!(pyramid(&[1, 4, 2], &[2, 3, 3, 7]).contains("levels (1, 5, L)"));
    assert!(pyramid(&[1, 5, 2], &[2, 3, 3, 5]).contains("7 input channels"));
    let label = Tensor::new(&[[[0_u8, 3], [255, 2]]], &Device::Cpu).unwrap();
    let objective = PixelObjective::Gain;
    let wrong = message(pixel_objective_mean(&x, &label, objective, Alignment::HalfPixel));
    assert!(wrong.contains("label 3 at image 0, row 0, column 1"), "{wrong}");
}
