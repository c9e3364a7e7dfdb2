//! Batch norm alone and with a convolution.

use crate::check::{EXACT, check_gradient, flat, random, relative_l2};
use candle_core::{DType, Device, Result, Tensor, Var};
use robustseg_ops::{
    BatchNorm, BatchStatistics, Conv2dConfig, StatisticsSource, batch_norm, batch_norm_add_relu,
    batch_norm_add_relu_in_place, batch_norm_in_place, batch_norm_relu, batch_norm_relu_conv2d,
    batch_norm_relu_in_place, batch_statistics, conv2d,
};

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
    let fixed = BatchStatistics::new(random(&[4], 7), (random(&[4], 8).sqr().unwrap() + 0.5).unwrap());
    check_gradient(&arguments, 1e-2, 2e-3, |a| {
        batch_norm_relu(&a[0], &a[1], &a[2], &fixed, StatisticsSource::Running, 1e-5)
    });
}

#[test]
fn gradients_of_a_norm_without_relu_and_with_a_residual() {
    let arguments = [random(&[2, 5, 3, 4], 1), random(&[4], 2), random(&[4], 3)];
    // Keeps the sums away from the kink of ReLU, on both sides.
    let sign = random(&[2, 5, 3, 4], 4).sign().unwrap();
    let residual = (sign * 6.0 + random(&[2, 5, 3, 4], 5)).unwrap();
    let [x, weight, bias] = arguments.clone();
    let with_residual = [x, weight, bias, residual];
    let fixed = BatchStatistics::new(random(&[4], 7), (random(&[4], 8).sqr().unwrap() + 0.5).unwrap());
    for source in [StatisticsSource::Batch, StatisticsSource::Running] {
        let statistics = |x: &Tensor| match source {
            StatisticsSource::Batch => batch_statistics(x),
            StatisticsSource::Running => Ok(fixed.clone()),
        };
        check_gradient(&arguments, 1e-2, 2e-3, |a| {
            let statistics = &statistics(&a[0])?;
            batch_norm(&a[0], BatchNorm { weight: &a[1], bias: &a[2], statistics, source, eps: 1e-5 })
        });
        check_gradient(&with_residual, 1e-2, 2e-3, |a| {
            let statistics = &statistics(&a[0])?;
            let norm = BatchNorm { weight: &a[1], bias: &a[2], statistics, source, eps: 1e-5 };
            batch_norm_add_relu(&a[0], norm, &a[3])
        });
    }
}

#[test]
fn norm_residual_and_relu_as_one_are_the_three_in_turn() {
    let shape = [2, 37, 9, 5];
    let arguments = [random(&shape, 1), random(&[5], 2), random(&[5], 3), random(&shape, 4)];
    for source in [StatisticsSource::Batch, StatisticsSource::Running] {
        let statistics = batch_statistics(&arguments[usize::from(source == StatisticsSource::Running) * 3]);
        let statistics = &statistics.unwrap();
        // Every subset of tracked arguments.
        for tracked in 0..16 {
            let vars = arguments.each_ref().map(|argument| Var::from_tensor(argument).unwrap());
            let inputs: Vec<Tensor> = (0..4)
                .map(|index| match tracked >> index & 1 {
                    1 => vars[index].as_tensor().clone(),
                    _ => arguments[index].clone(),
                })
                .collect();
            let [x, weight, bias, residual] = &inputs[..] else { unreachable!() };
            let norm = BatchNorm { weight, bias, statistics, source, eps: 1e-5 };
            let one = batch_norm_add_relu(x, norm, residual).unwrap();
            let normalised = batch_norm(x, norm).unwrap();
            let two = (normalised + residual).unwrap().relu().unwrap();
            // The compiler may round the two sums once or twice.
            assert!(relative_l2(&flat(&one), &flat(&two)) < 1e-6);
            if tracked == 0 {
                continue;
            }
            let (one, two) = (one.sqr().unwrap().backward().unwrap(), two.sqr().unwrap().backward().unwrap());
            for var in &vars {
                let (one, two) = (one.get(var).map(flat), two.get(var).map(flat));
                assert_eq!(one.is_some(), two.is_some(), "{source:?}, tracked {tracked:b}");
                if let (Some(one), Some(two)) = (one, two) {
                    assert!(relative_l2(&one, &two) < 1e-5, "{source:?}, tracked {tracked:b}");
                }
            }
        }
    }
}

#[test]
fn norms_in_place_have_the_same_values_and_spare_what_is_recorded() {
    type Pair<'a> = (
        &'a dyn Fn(Tensor, BatchNorm<'_>) -> Result<Tensor>,
        &'a dyn Fn(&Tensor, BatchNorm<'_>) -> Result<Tensor>,
    );
    let shape = [2, 37, 9, 5];
    let (weight, bias, residual) = (random(&[5], 2), random(&[5], 3), random(&shape, 4));
    let x = || random(&shape, 1);
    let statistics = &batch_statistics(&x()).unwrap();
    let norm =
        |weight, bias| BatchNorm { weight, bias, statistics, source: StatisticsSource::Batch, eps: 1e-5 };
    let pairs: [Pair<'_>; 3] = [
        (&|x, norm| batch_norm_in_place(x, norm), &|x, norm| batch_norm(x, norm)),
        (&|x, norm| batch_norm_relu_in_place(x, norm), &|x, norm| {
            batch_norm_relu(x, norm.weight, norm.bias, norm.statistics, norm.source, norm.eps)
        }),
        (&|x, norm| batch_norm_add_relu_in_place(x, norm, &residual), &|x, norm| {
            batch_norm_add_relu(x, norm, &residual)
        }),
    ];
    let (tracked, short) = (Var::from_tensor(&weight).unwrap(), random(&[4], 3));
    for (in_place, separate) in pairs {
        let expected = flat(&separate(&x(), norm(&weight, &bias)).unwrap());
        let overwritten = x();
        assert_eq!(flat(&in_place(overwritten.clone(), norm(&weight, &bias)).unwrap()), expected);
        assert_eq!(flat(&overwritten), expected);
        let kept = x();
        assert_eq!(flat(&in_place(kept.clone(), norm(&tracked, &bias)).unwrap()), expected);
        assert_eq!(flat(&kept), flat(&x()));
        assert!(in_place(x(), norm(&short, &bias)).is_err());
    }
    let same = x();
    assert!(batch_norm_add_relu_in_place(same.clone(), norm(&weight, &bias), &same).is_err());
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
                BatchStatistics::new(random(&[4], 7), random(&[4], 8).sqr().unwrap())
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
            let one = batch_norm_relu_conv2d(x, norm, kernel, config, EXACT).unwrap();
            let activated = batch_norm_relu(x, weight, bias, &statistics, source, 1e-5).unwrap();
            let two = conv2d(&activated, kernel, config, EXACT).unwrap();
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
        batch_norm_relu_conv2d(&a[0], norm, &a[3], config, EXACT)
    });
}

#[test]
fn relu_passes_no_gradient_at_zero() {
    let x = Var::zeros((1, 2, 2, 1), DType::F32, &Device::Cpu).unwrap();
    let (one, zero) = (random(&[1], 1), Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap());
    let statistics = BatchStatistics::new(zero.clone(), one.sqr().unwrap());
    let out = batch_norm_relu(&x, &one, &zero, &statistics, StatisticsSource::Running, 1e-5).unwrap();
    let gradients = out.sum_all().unwrap().backward().unwrap();
    assert_eq!(flat(gradients.get(&x).unwrap()), [0.0; 4]);
}
