//! Where a network's variables come from while it is built: a seed, a file, or nowhere (an outline).

use crate::ParameterKind;
use candle_core::{DType, Device, Result, Shape, Tensor, Var, bail};
use candle_nn::{Init, VarMap, var_builder::SimpleBackend};
use robustseg_random::{standard_normal, stream};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Source of the variables, each remembered in a [`VarMap`] under its checkpoint name.
pub(crate) struct Variables<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) made: VarMap,
    /// Counts the trainable numbers.
    pub(crate) trainable: Arc<AtomicUsize>,
}

pub(crate) enum Source<'a> {
    /// Random numbers keyed by this seed and the variable's name.
    Seed(u64),
    /// A checkpoint's tensors, (O, I, KH, KW) where they have four axes.
    File(&'a SafeTensors<'a>),
    /// Zeros, for a state that is yet to come.
    Blank,
    /// Shapes alone, without memory behind them.
    Outline,
}

impl SimpleBackend for Variables<'_> {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        if ParameterKind::of(name) != ParameterKind::RunningStatistic {
            self.trainable.fetch_add(shape.elem_count(), Ordering::Relaxed);
        }
        let tensor = match &self.source {
            Source::Outline => return Tensor::zeros(1, dtype, device)?.broadcast_as(shape),
            Source::Blank => Tensor::zeros(shape, dtype, device)?,
            Source::Seed(seed) => Tensor::from_vec(draw(*seed, name, init, &shape)?, shape, device)?,
            Source::File(file) => stored(file, name, &shape, device)?,
        };
        let var = Var::from_tensor(&tensor)?;
        let variable = var.as_tensor().clone();
        self.made.data().lock().expect("no thread panics holding it").insert(name.into(), var);
        Ok(variable)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        bail!("variable {name} was asked for without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

fn draw(seed: u64, name: &str, init: Init, shape: &Shape) -> Result<Vec<f32>> {
    let count = shape.elem_count();
    match init {
        Init::Const(value) => Ok(vec![value as f32; count]),
        Init::Randn { mean, stdev } => {
            let mut values = vec![0.0; count];
            let purpose = format!("initial {name}");
            standard_normal(&mut stream(seed, &purpose, [0; 3]), &mut values);
            for value in &mut values {
                *value = (mean + stdev * f64::from(*value)) as f32;
            }
            Ok(values)
        }
        other => bail!("variable {name}: no seeded initialisation {other:?}"),
    }
}

/// The tensor `name` of a checkpoint as f32, convolution weights brought to (O, KH, KW, I).
pub(crate) fn stored(file: &SafeTensors<'_>, name: &str, shape: &Shape, device: &Device) -> Result<Tensor> {
    let Ok(view) = file.tensor(name) else {
        bail!("tensor {name} is missing");
    };
    let outside = outside_shape(shape.dims());
    let values = numbers(&view)?.filter(|_| view.shape() == outside);
    let Some(values) = values else {
        bail!(
            "tensor {name}: expected f32 of shape {outside:?}, found {:?} of shape {:?}",
            view.dtype(),
            view.shape()
        );
    };
    if !values.iter().all(|value| value.is_finite()) {
        bail!("tensor {name} holds values that are not finite");
    }
    inside(&Tensor::from_vec(values, outside, device)?)
}

/// The numbers of a tensor as f32, if they are f32, f16, bf16 or f64.
fn numbers(view: &TensorView<'_>) -> Result<Option<Vec<f32>>> {
    let dtype = match view.dtype() {
        Dtype::F32 => {
            let (words, _) = view.data().as_chunks::<4>();
            return Ok(Some(words.iter().map(|word| f32::from_le_bytes(*word)).collect()));
        }
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F64 => DType::F64,
        _ => return Ok(None),
    };
    let values = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?;
    values.flatten_all()?.to_dtype(DType::F32)?.to_vec1().map(Some)
}

/// (O, KH, KW, I) to (O, I, KH, KW); other shapes stay.
fn outside_shape(inside: &[usize]) -> Vec<usize> {
    match *inside {
        [o, kh, kw, i] => vec![o, i, kh, kw],
        _ => inside.to_vec(),
    }
}

/// A tensor of a checkpoint as the network holds it: (O, I, KH, KW) to (O, KH, KW, I).
pub(crate) fn inside(outside: &Tensor) -> Result<Tensor> {
    match outside.rank() {
        4 => outside.permute((0, 2, 3, 1))?.contiguous(),
        _ => Ok(outside.clone()),
    }
}

/// A variable as a checkpoint holds it: (O, KH, KW, I) to (O, I, KH, KW).
pub(crate) fn outside(inside: &Tensor) -> Result<Tensor> {
    match inside.rank() {
        4 => inside.permute((0, 3, 1, 2))?.contiguous(),
        _ => Ok(inside.clone()),
    }
}
