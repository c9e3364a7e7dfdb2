//! Random tensors, and gradients against finite differences.

use candle_core::{Device, Result, Tensor, Var};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use robustseg_ops::{Arithmetic, ConvolutionChoice, Factors, Tape};

/// Nothing is rounded.
pub const EXACT: Arithmetic = Arithmetic { factors: Factors::F32, choice: ConvolutionChoice::Predicted };

pub fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..shape.iter().product()).map(|_| rng.random_range(-1.0_f32..1.0)).collect();
    Tensor::from_vec::<_, f32>(values, shape, &Device::Cpu).unwrap()
}

pub fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

pub fn relative_l2(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut actual.iter().zip(expected).map(|(a, b)| f64::from(a - b)));
    difference / norm(&mut expected.iter().map(|b| f64::from(*b))).max(1e-12)
}

/// Compares the gradient of `sum(weights * f(arguments))` with central differences, in every
/// coordinate of every argument. A tape and candle have to give the same bits.
pub fn check_gradient(
    arguments: &[Tensor],
    step: f32,
    tolerance: f64,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let value = |arguments: &[Tensor]| -> f64 {
        let out = flat(&f(arguments).unwrap());
        let weights = flat(&random(&[out.len()], 99));
        out.iter().zip(&weights).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let vars: Vec<Var> = arguments.iter().map(|a| Var::from_tensor(a).unwrap()).collect();
    let tracked: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let out = f(&tracked).unwrap();
    let weights = random(&[out.elem_count()], 99).reshape(out.shape()).unwrap();
    let gradients = (out * &weights).unwrap().sum_all().unwrap().backward().unwrap();
    let tape = Tape::start();
    let taped = tape.backward(&(f(&tracked).unwrap() * weights).unwrap()).unwrap();
    for (index, var) in vars.iter().enumerate() {
        let analytic = flat(gradients.get(var).expect("a gradient for each argument"));
        assert_eq!(flat(taped.get(var).expect("a gradient on the tape")), analytic, "argument {index}");
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

pub fn labels(shape: &[usize], classes: usize) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let values: Vec<u8> = (0..shape.iter().product::<usize>())
        .map(|_| match rng.random_range(0..classes + 1) {
            class if class == classes => 255,
            class => class as u8,
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}
