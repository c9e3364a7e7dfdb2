//! Maximum and adaptive average pooling.

use crate::check::{check_gradient, flat, random};
use candle_core::{DType, Device, Tensor, Var};
use robustseg_ops::{adaptive_avg_pool2d, max_pool2d};

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
