//! Compares candle's own operations on the device with the CPU, over odd shapes and layouts.
//!
//! The tests are for the GPU emulator (`scripts/gpu_emulator.sh`). They check its libraries and
//! thread scheduler without any operation of the workspace. A real GPU passes them too.
#![cfg(feature = "cuda")]

use candle_core::{DType, Device, Result, Tensor};

/// The device, or `None` with a message if there is no CUDA.
fn device() -> Option<Device> {
    // cudarc panics if it finds no libcuda.
    let device = std::panic::catch_unwind(|| Device::new_cuda_with_stream(0));
    match device {
        Ok(Ok(device)) => Some(device),
        Ok(Err(error)) => panic!("there is CUDA, but no device: {error}"),
        Err(_) => {
            println!("skipped: there is no libcuda");
            None
        }
    }
}

/// Values in [-2, 2) without a pattern that a wrong index could match by chance.
fn values(shape: &[usize], seed: usize) -> Result<Tensor> {
    let count = shape.iter().product::<usize>();
    let values = (0..count)
        .map(|i| {
            let mixed = (i as u64 + 1 + seed as u64 * 7919).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (mixed >> 40) as f32 / (1 << 22) as f32 - 2.0
        })
        .collect::<Vec<_>>();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// Computes on both devices and compares. `tolerance` is relative to the largest value.
fn compare(
    what: &str,
    device: &Device,
    tolerance: f64,
    inputs: &[Tensor],
    compute: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<()> {
    let expected = compute(inputs)?;
    let inputs = inputs.iter().map(|input| input.to_device(device)).collect::<Result<Vec<_>>>()?;
    let actual = compute(&inputs)?;
    assert!(actual.device().is_cuda(), "{what}");
    assert_eq!(actual.dims(), expected.dims(), "{what}");
    assert_eq!(actual.dtype(), expected.dtype(), "{what}");
    let wide = |tensor: &Tensor| {
        tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()
    };
    let (actual, expected) = (wide(&actual)?, wide(&expected)?);
    let scale = expected
        .iter()
        .filter(|value| value.is_finite())
        .fold(1.0, |scale: f64, value| scale.max(value.abs()));
    for (i, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
        let same = actual == expected
            || (actual.is_nan() && expected.is_nan())
            || (actual - expected).abs() <= tolerance * scale;
        assert!(same, "{what}: element {i} is {actual}, not {expected}");
    }
    Ok(())
}

/// Computes in f64 on the CPU, where candle would sum bf16 in bf16, and unchanged on the device.
fn wide_on_cpu(x: &Tensor, compute: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    if x.device().is_cuda() { compute(x) } else { compute(&x.to_dtype(DType::F64)?)?.to_dtype(x.dtype()) }
}

const SHAPES: [&[usize]; 5] = [&[1], &[7], &[3, 5], &[2, 33, 5], &[2, 3, 17, 31]];

#[test]
fn elementwise() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    for shape in SHAPES {
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            let tolerance = if dtype == DType::BF16 { 8e-3 } else { 1e-6 };
            let inputs = [values(shape, 0)?.to_dtype(dtype)?, values(shape, 1)?.to_dtype(dtype)?];
            let check = |what: &str, compute: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
                compare(&format!("{what} {dtype:?} {shape:?}"), &device, tolerance, &inputs, compute)
            };
            check("add", &|x| &x[0] + &x[1])?;
            check("sub", &|x| &x[0] - &x[1])?;
            check("mul", &|x| &x[0] * &x[1])?;
            check("div", &|x| &x[0] / x[1].abs()?.affine(1.0, 0.5)?)?;
            check("maximum", &|x| x[0].maximum(&x[1]))?;
            check("minimum", &|x| x[0].minimum(&x[1]))?;
            check("affine", &|x| x[0].affine(1.5, -0.25))?;
            check("neg", &|x| x[0].neg())?;
            check("sqr", &|x| x[0].sqr())?;
            check("sqrt", &|x| x[0].abs()?.sqrt())?;
            check("exp", &|x| x[0].exp())?;
            check("log", &|x| x[0].abs()?.affine(1.0, 0.1)?.log())?;
            check("sign", &|x| x[0].sign())?;
            check("relu", &|x| x[0].relu())?;
            check("recip", &|x| x[0].abs()?.affine(1.0, 0.5)?.recip())?;
            check("clamp", &|x| x[0].clamp(-0.5, 0.75))?;
            check("eq", &|x| x[0].eq(&x[1]))?;
            check("lt", &|x| x[0].lt(&x[1]))?;
            check("ge", &|x| x[0].ge(&x[1]))?;
            check("where", &|x| x[0].gt(&x[1])?.where_cond(&x[0], &x[1]))?;
        }
    }
    Ok(())
}

#[test]
fn layouts() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::U8, DType::U32, DType::I64] {
        let x = values(&[3, 5, 7, 2], 0)?.affine(20.0, 50.0)?.to_dtype(dtype)?;
        let row = values(&[7, 1], 1)?.affine(10.0, 50.0)?.to_dtype(dtype)?;
        let inputs = [x, row];
        let check = |what: &str, compute: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
            compare(&format!("{what} {dtype:?}"), &device, 0.0, &inputs, compute)
        };
        check("permute", &|x| x[0].permute((0, 2, 3, 1))?.contiguous())?;
        check("transpose", &|x| x[0].t()?.contiguous())?;
        check("narrow", &|x| x[0].narrow(2, 1, 5)?.contiguous())?;
        check("narrow the first", &|x| x[0].narrow(0, 1, 2)?.contiguous())?;
        check("broadcast", &|x| x[1].broadcast_as((3, 5, 7, 2))?.contiguous())?;
        check("cat", &|x| Tensor::cat(&[&x[0], &x[0].narrow(1, 0, 2)?], 1))?;
        check("cat the last", &|x| Tensor::cat(&[&x[0], &x[0]], 3))?;
        check("flip", &|x| x[0].flip(&[2]))?;
        check("zeros", &|x| x[0].zeros_like())?;
        check("ones", &|x| x[0].ones_like())?;
        check("add of views", &|x| {
            x[0].permute((3, 1, 2, 0))?.contiguous()? + x[0].permute((3, 1, 2, 0))?
        })?;
        check("broadcast maximum", &|x| x[0].broadcast_maximum(&x[1]))?;
    }
    Ok(())
}

#[test]
fn casts() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let types = [DType::F32, DType::F64, DType::BF16, DType::U8, DType::U32, DType::I64];
    for from in types {
        for to in types {
            // candle has no kernel for these two conversions.
            if matches!((from, to), (DType::BF16, DType::I64) | (DType::I64, DType::BF16)) {
                continue;
            }
            let x = values(&[5, 13], 2)?.affine(50.0, 110.0)?.to_dtype(from)?;
            compare(&format!("{from:?} to {to:?}"), &device, 0.0, &[x], |x| x[0].t()?.to_dtype(to))?;
        }
    }
    Ok(())
}

#[test]
fn reductions() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    for shape in [&[3, 5][..], &[2, 33, 5], &[2, 3, 17, 31], &[2, 1500, 3]] {
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            let tolerance = if dtype == DType::BF16 { 2e-2 } else { 1e-5 };
            let x = [values(shape, 3)?.to_dtype(dtype)?];
            for dim in 0..shape.len() {
                let check = |what: &str, compute: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
                    compare(
                        &format!("{what} {dtype:?} {shape:?} over {dim}"),
                        &device,
                        tolerance,
                        &x,
                        compute,
                    )
                };
                check("sum", &|x| wide_on_cpu(&x[0], |x| x.sum(dim)))?;
                check("mean", &|x| wide_on_cpu(&x[0], |x| x.mean_keepdim(dim)))?;
                check("max", &|x| x[0].max(dim))?;
                check("min", &|x| x[0].min_keepdim(dim))?;
                // bf16 has ties, and either index may be returned.
                if dtype != DType::BF16 {
                    check("argmax", &|x| x[0].argmax(dim))?;
                }
            }
            compare(&format!("sum of all {dtype:?} {shape:?}"), &device, tolerance, &x, |x| {
                wide_on_cpu(&x[0], Tensor::sum_all)
            })?;
        }
    }
    Ok(())
}

#[test]
fn indexing() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let x = values(&[4, 9, 5], 4)?;
    let rows = Tensor::new(&[8u32, 0, 3, 3, 7, 1], &Device::Cpu)?;
    compare("index_select", &device, 0.0, &[x.clone(), rows], |x| x[0].index_select(&x[1], 1))?;
    let places = (values(&[4, 3, 5], 5)?.affine(2.0, 4.0)?).to_dtype(DType::U32)?;
    compare("gather", &device, 0.0, &[x.clone(), places], |x| x[0].gather(&x[1], 1))?;
    let rows = Tensor::new(&[1u32, 3, 0, 2, 1, 3, 3, 0, 2], &Device::Cpu)?;
    let zeros = x.narrow(1, 0, 4)?.contiguous()?;
    compare("index_add", &device, 1e-6, &[zeros, rows, x], |x| x[0].index_add(&x[1], &x[2], 1))?;
    Ok(())
}

#[test]
fn matrix_products() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    for (batch, m, k, n) in [(1, 1, 1, 1), (1, 7, 13, 5), (3, 33, 17, 9), (2, 64, 50, 31)] {
        for dtype in [DType::F32, DType::F64] {
            let inputs = [
                values(&[batch, m, k], 6)?.to_dtype(dtype)?,
                values(&[batch, k, n], 7)?.to_dtype(dtype)?,
                values(&[batch, n, k], 8)?.to_dtype(dtype)?,
                values(&[batch, k, m], 9)?.to_dtype(dtype)?,
            ];
            let check = |what: &str, compute: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
                compare(&format!("{what} {dtype:?} {batch} {m} {k} {n}"), &device, 1e-5, &inputs, compute)
            };
            check("a b", &|x| x[0].matmul(&x[1]))?;
            check("a b'", &|x| x[0].matmul(&x[2].transpose(1, 2)?))?;
            check("a' b", &|x| x[3].transpose(1, 2)?.matmul(&x[1]))?;
            check("a' b'", &|x| x[3].transpose(1, 2)?.matmul(&x[2].transpose(1, 2)?))?;
        }
        // candle has no bf16 product on the CPU, so the reference is f32 with rounded factors.
        let rounded = |seed, shape: &[usize]| values(shape, seed)?.to_dtype(DType::BF16);
        let (a, b) = (rounded(6, &[batch, m, k])?, rounded(7, &[batch, k, n])?);
        let expected = a.to_dtype(DType::F32)?.matmul(&b.to_dtype(DType::F32)?)?;
        compare("bf16 product", &device, 8e-3, &[a, b, expected], |x| {
            if x[0].device().is_cuda() { x[0].matmul(&x[1])?.to_dtype(DType::F32) } else { Ok(x[2].clone()) }
        })?;
    }
    Ok(())
}

#[test]
fn convolutions_of_cudnn() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    for (channels, out, kernel, padding, stride, dilation) in
        [(3, 8, 3, 1, 1, 1), (5, 7, 1, 0, 1, 1), (4, 6, 3, 2, 1, 2), (3, 5, 7, 3, 2, 1), (6, 3, 3, 0, 2, 1)]
    {
        let inputs = [values(&[2, channels, 13, 17], 10)?, values(&[out, channels, kernel, kernel], 11)?];
        // TF32 rounds the factors to 11 bits.
        compare("convolution", &device, 1e-3, &inputs, |x| x[0].conv2d(&x[1], padding, stride, dilation, 1))?;
        let inputs = [inputs[0].transpose(2, 3)?, inputs[1].clone()];
        compare("convolution of a view", &device, 1e-3, &inputs, |x| {
            x[0].conv2d(&x[1], padding, stride, dilation, 1)
        })?;
    }
    Ok(())
}

#[test]
fn random_numbers() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let uniform = Tensor::rand(-1f32, 1f32, (1000, 7), &device)?;
    assert!(uniform.abs()?.max_all()?.to_scalar::<f32>()? <= 1.0);
    assert!(uniform.mean_all()?.to_scalar::<f32>()?.abs() < 0.05);
    let normal = Tensor::randn(0f32, 1f32, (1000, 7), &device)?;
    assert!((normal.sqr()?.mean_all()?.to_scalar::<f32>()? - 1.0).abs() < 0.1);
    Ok(())
}

#[test]
fn gradients() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let inputs = [values(&[3, 5], 12)?, values(&[5, 4], 13)?];
    compare("gradient", &device, 1e-5, &inputs, |x| {
        let x = candle_core::Var::from_tensor(&x[0])?;
        let weights = values(&[5, 4], 13)?.to_device(x.device())?;
        let loss = x.matmul(&weights)?.relu()?.sqr()?.sum_all()?;
        Ok(loss.backward()?.get(&x).expect("x has a gradient").clone())
    })
}
