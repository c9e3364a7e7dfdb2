//! Operations on activations of bf16 against the same on f32.

use candle_core::{DType, Result, Tensor, Var};
use robustseg_ops::{
    Alignment, BatchNorm, BatchStatistics, Conv2dConfig, StatisticsSource, Tape, adaptive_avg_pool2d,
    add_bias, attention, batch_norm, batch_norm_add_relu, batch_norm_add_relu_in_place, batch_norm_in_place,
    batch_norm_relu, batch_norm_relu_conv2d, batch_norm_relu_in_place, batch_statistics, conv2d, conv2d_add,
    conv2d_bias, conv2d_pyramid, conv2d_upsampled_add, depthwise_conv2d, gelu, layer_norm, max_pool2d,
    scale_channels, upsample_bilinear, upsample_bilinear_add,
};

use crate::check::{EXACT, flat, random, relative_l2};

const CENTRE: Alignment = Alignment::HalfPixel;

/// Numbers that bf16 has.
fn representable(shape: &[usize], seed: u64) -> Tensor {
    random(shape, seed).to_dtype(DType::BF16).and_then(|tensor| tensor.to_dtype(DType::F32)).unwrap()
}

/// The output of `f`, which gets `activations` of type `elements` and `parameters` of f32, and the
/// gradients of both.
fn outcome(
    elements: DType,
    activations: &[&Tensor],
    parameters: &[&Tensor],
    f: impl Fn(&[Tensor], &[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Vec<f32>>> {
    let vars = |tensors: &[&Tensor]| -> Result<Vec<Var>> {
        tensors.iter().map(|tensor| Var::from_tensor(tensor)).collect()
    };
    let (activations, parameters) = (vars(activations)?, vars(parameters)?);
    let tape = Tape::start();
    let narrow = activations.iter().map(|var| var.to_dtype(elements)).collect::<Result<Vec<Tensor>>>()?;
    let wide: Vec<Tensor> = parameters.iter().map(|var| var.as_tensor().clone()).collect();
    let out = f(&narrow, &wide)?;
    assert_eq!(out.dtype(), elements);
    let out = out.to_dtype(DType::F32)?;
    let gradients = tape.backward(&(&out * representable(out.dims(), 3))?)?;
    let gradient = |var: &Var| flat(gradients.get(var).expect("a gradient of each argument"));
    Ok(std::iter::once(flat(&out)).chain(activations.iter().chain(&parameters).map(gradient)).collect())
}

/// Compares the output and all gradients. Rounding to eight bits is an error of some 2e-3.
fn check(
    name: &str,
    activations: &[&Tensor],
    parameters: &[&Tensor],
    f: impl Fn(&[Tensor], &[Tensor]) -> Result<Tensor>,
) {
    let exact = outcome(DType::F32, activations, parameters, &f).unwrap();
    let rounded = outcome(DType::BF16, activations, parameters, &f).unwrap();
    for (index, (rounded, exact)) in rounded.iter().zip(&exact).enumerate() {
        let error = relative_l2(rounded, exact);
        assert!(error < 6e-3, "{name}, {index} (0: output, then gradients): relative error {error}");
    }
    assert_ne!(rounded, exact, "{name}: nothing was rounded");
}

#[test]
fn convolutions() {
    let strided = Conv2dConfig { stride: 2, padding: 1, ..Conv2dConfig::default() };
    let dilated = Conv2dConfig { padding: 2, dilation: 2, ..Conv2dConfig::default() };
    let padded = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    // The second one suits Winograd's algorithm, the third one is a plain product.
    for (inputs, outputs, kernel, config) in [
        (7, 5, 3, padded),
        (64, 80, 3, padded),
        (33, 70, 1, Conv2dConfig::default()),
        (20, 65, 3, strided),
        (600, 48, 3, dilated),
    ] {
        let name = format!("{inputs} x {kernel} x {outputs}");
        let x = representable(&[2, 13, 17, inputs], 1);
        let weight = random(&[outputs, kernel, kernel, inputs], 2);
        check(&name, &[&x], &[&weight], |x, weight| conv2d(&x[0], &weight[0], config, EXACT));
        let bias = random(&[outputs], 4);
        check(&name, &[&x], &[&weight, &bias], |x, p| conv2d_bias(&x[0], &p[0], &p[1], config, EXACT));
        let out = conv2d(&x, &weight, config, EXACT).unwrap();
        let residual = representable(out.dims(), 5);
        check(&name, &[&x, &residual], &[&weight], |x, weight| {
            conv2d_add(&x[0], &weight[0], config, &x[1], EXACT)
        });
    }
}

#[test]
fn norms() {
    let [x, residual] = [1, 2].map(|seed| representable(&[2, 9, 11, 33], seed));
    let parameters = [(random(&[33], 3) + 2.0).unwrap(), random(&[33], 4)];
    let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    for source in [StatisticsSource::Batch, StatisticsSource::Running] {
        let statistics = |x: &Tensor| match source {
            StatisticsSource::Batch => batch_statistics(x),
            StatisticsSource::Running => {
                Ok(BatchStatistics::new(random(&[33], 5), (random(&[33], 6) + 2.0)?))
            }
        };
        let norm = |x: &Tensor, p: &[Tensor], f: &dyn Fn(BatchNorm<'_>) -> Result<Tensor>| {
            f(BatchNorm { weight: &p[0], bias: &p[1], statistics: &statistics(x)?, source, eps: 1e-5 })
        };
        check("batch norm", &[&x], &parameters.each_ref(), |x, p| {
            norm(&x[0], p, &|norm| batch_norm(&x[0], norm))
        });
        check("batch norm, ReLU", &[&x], &parameters.each_ref(), |x, p| {
            batch_norm_relu(&x[0], &p[0], &p[1], &statistics(&x[0])?, source, 1e-5)
        });
        check("batch norm, residual, ReLU", &[&x, &residual], &parameters.each_ref(), |x, p| {
            norm(&x[0], p, &|norm| batch_norm_add_relu(&x[0], norm, &x[1]))
        });
        let weight = random(&[40, 3, 3, 33], 7);
        let all = [parameters[0].clone(), parameters[1].clone(), weight];
        check("batch norm, ReLU, convolution", &[&x], &all.each_ref(), |x, p| {
            norm(&x[0], p, &|norm| batch_norm_relu_conv2d(&x[0], norm, &p[2], config, EXACT))
        });
    }
    check("layer norm", &[&x], &parameters.each_ref(), |x, p| layer_norm(&x[0], &p[0], &p[1], 1e-5));
}

#[test]
fn norms_in_place_have_the_same_values() {
    let activation = |seed| representable(&[2, 5, 7, 19], seed).to_dtype(DType::BF16).unwrap();
    let (weight, bias, residual) = (random(&[19], 3), random(&[19], 4), activation(2));
    let statistics = &batch_statistics(&activation(1)).unwrap();
    let source = StatisticsSource::Batch;
    let norm = BatchNorm { weight: &weight, bias: &bias, statistics, source, eps: 1e-5 };
    let relu = |x: &Tensor| batch_norm_relu(x, &weight, &bias, statistics, source, 1e-5);
    for (in_place, separate) in [
        (batch_norm_in_place(activation(1), norm), batch_norm(&activation(1), norm)),
        (batch_norm_relu_in_place(activation(1), norm), relu(&activation(1))),
        (
            batch_norm_add_relu_in_place(activation(1), norm, &residual),
            batch_norm_add_relu(&activation(1), norm, &residual),
        ),
    ] {
        let bits = |tensor: Result<Tensor>| flat(&tensor.unwrap().to_dtype(DType::F32).unwrap());
        assert_eq!(bits(in_place), bits(separate));
    }
}

#[test]
fn maps_of_other_sizes() {
    let x = representable(&[2, 9, 11, 6], 1);
    check("max pooling", &[&x], &[], |x, _| max_pool2d(&(&x[0] * 1.01)?, 3, 2, 1));
    check("average pooling", &[&x], &[], |x, _| adaptive_avg_pool2d(&x[0], &[1, 3]));
    check("upsampling", &[&x], &[], |x, _| upsample_bilinear(&x[0], 17, 23, CENTRE));
    let large = representable(&[2, 17, 23, 6], 2);
    check("upsampling, sum", &[&x, &large], &[], |x, _| upsample_bilinear_add(&x[0], &x[1], CENTRE));
    let residual = representable(&[2, 17, 23, 5], 3);
    check("upsampled convolution", &[&x, &residual], &[&random(&[5, 3, 3, 6], 4)], |x, p| {
        conv2d_upsampled_add(&x[0], &p[0], &x[1], CENTRE, EXACT)
    });
    let levels = representable(&[2, 10, 4], 5);
    check("pyramid", &[&x, &levels], &[&random(&[5, 3, 3, 14], 6)], |x, p| {
        conv2d_pyramid(&x[0], &x[1], &p[0], &[1, 3], CENTRE, EXACT)
    });
}

#[test]
fn channels_and_transformers() {
    let x = representable(&[2, 6, 7, 8], 1);
    check("GELU", &[&x], &[], |x, _| gelu(&x[0]));
    check("bias", &[&x], &[&random(&[8], 2)], |x, p| add_bias(&x[0], &p[0]));
    let scale = random(&[2, 8], 3);
    check("scale", &[&x], &[], |x, _| scale_channels(&x[0], &scale));
    let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    check("depthwise", &[&x], &[&random(&[8, 3, 3, 1], 4), &random(&[8], 5)], |x, p| {
        depthwise_conv2d(&x[0], &p[0], &p[1], config)
    });
    let key_value = representable(&[2, 3, 4, 16], 6);
    check("attention", &[&x, &key_value], &[], |x, _| attention(&x[0], &x[1], 2));
}
