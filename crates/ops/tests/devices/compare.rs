//! One operation on a GPU and on the CPU.

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use robustseg_ops::*;

/// Tolerances as shares of the largest value, for f32 sums in another order and for the eight bits
/// of bf16.
const F32: f64 = 2e-5;
const BF16: f64 = 4e-2;

pub(crate) fn gpu() -> Option<Device> {
    if cuda::count() == 0 {
        eprintln!("no GPU here: not tested");
        return None;
    }
    Some(cuda::open(0).expect("a GPU that can be opened"))
}

pub(crate) fn random(seed: u64, shape: &[usize]) -> Tensor {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub(crate) fn labels(seed: u64, shape: &[usize], classes: u8) -> Tensor {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let class = |value: u8| if value == classes { IGNORE_LABEL } else { value };
    let values: Vec<u8> =
        (0..shape.iter().product()).map(|_| class(random.random_range(0..=classes))).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// The largest difference, as a share of the largest value.
pub(crate) fn difference(cpu: &Tensor, gpu: &Tensor) -> f64 {
    assert_eq!(cpu.dims(), gpu.dims());
    let values = |tensor: &Tensor| -> Vec<f64> {
        let tensor = tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    };
    let (cpu, gpu) = (values(cpu), values(gpu));
    let largest = cpu.iter().fold(1e-3_f64, |largest, value| largest.max(value.abs()));
    let mut most = 0.0_f64;
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        assert!(gpu.is_finite(), "{gpu} on the GPU, {cpu} on the CPU");
        most = most.max((cpu - gpu).abs());
    }
    most / largest
}

/// The value of `work` and the gradient of each argument of its product with fixed factors.
pub(crate) fn outcome(
    arguments: &[Tensor],
    device: &Device,
    types: &[DType],
    work: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Tensor>> {
    let variables = arguments
        .iter()
        .zip(types)
        .map(|(argument, dtype)| Var::from_tensor(&argument.to_device(device)?.to_dtype(*dtype)?))
        .collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let out = work(&tensors)?;
    let factors = random(99, out.dims()).to_device(device)?.to_dtype(out.dtype())?;
    let gradients = (&out * factors)?.to_dtype(DType::F32)?.sum_all()?.backward()?;
    let mut all = vec![out.detach()];
    for variable in &variables {
        all.push(gradients.get(variable).expect("each argument has a gradient").clone());
    }
    Ok(all)
}

/// On the GPU in f32, and in bf16 where the first `narrow` arguments may be, as on the CPU.
pub(crate) fn same(
    name: &str,
    arguments: &[Tensor],
    narrow: usize,
    work: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let Some(gpu) = gpu() else { return };
    let wide = vec![DType::F32; arguments.len()];
    // The arguments rounded to bf16, so that only the operation's own rounding shows.
    let rounded: Vec<Tensor> = arguments
        .iter()
        .enumerate()
        .map(|(index, argument)| {
            let elements = if index < narrow { DType::BF16 } else { DType::F32 };
            argument.to_dtype(elements).unwrap().to_dtype(DType::F32).unwrap()
        })
        .collect();
    let types: Vec<DType> =
        (0..arguments.len()).map(|index| if index < narrow { DType::BF16 } else { DType::F32 }).collect();
    let cases = [(arguments, &wide, F32), (&rounded, &types, BF16)];
    for (arguments, types, tolerance) in cases.into_iter().take(1 + usize::from(narrow > 0)) {
        let cpu = outcome(arguments, &Device::Cpu, &wide, &work).unwrap();
        // The first time chooses how convolutions are computed, the second computes them so.
        for _ in 0..2 {
            let gpu = outcome(arguments, &gpu, types, &work).unwrap();
            for (index, (cpu, gpu)) in cpu.iter().zip(&gpu).enumerate() {
                let found = difference(cpu, gpu);
                assert!(
                    found <= tolerance,
                    "{name}, {:?}: output or gradient {index} differs by {found}",
                    types[0]
                );
            }
        }
    }
}
