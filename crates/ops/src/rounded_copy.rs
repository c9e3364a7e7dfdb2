//! Weights rounded to bf16 on a GPU, in copies that follow them.

use crate::convert::convert;
#[cfg(feature = "cuda")]
use crate::cuda::recordings::{is_recording, moved};
#[cfg(feature = "cuda")]
use crate::gradients::Gradients;
#[cfg(feature = "cuda")]
use crate::tape::{self, Recorded};
#[cfg(feature = "cuda")]
use candle_core::bail;
use candle_core::{DType, Result, Tensor, TensorId, Var};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The place of a weight's copy in bf16, which networks on a GPU multiply by. The copy is made at the
/// first use. Optimisers write it together with the weight, and [`assign`] marks it as old, so that
/// no pass has to round the weight again. Other ways to change a variable in place, candle's
/// [`Var::set`] among them, leave an old copy in use.
///
/// The CPU's products round weights themselves.
///
/// ```
/// use candle_core::{DType, Device, Var};
/// use robustseg_ops::{RoundedCopy, assign};
/// # fn main() -> candle_core::Result<()> {
/// let weight = Var::new(&[1_f32, 1.001], &Device::Cpu)?;
/// let copy = RoundedCopy::default();
/// assign(&weight, &(weight.as_tensor() * 2.0)?)?;
/// assert_eq!(copy.of(&weight, DType::BF16, false)?.to_vec1::<f32>()?, [2.0, 2.002]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
pub struct RoundedCopy(Arc<Mutex<State>>);

#[derive(Debug, Default)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
struct State {
    copy: Option<Var>,
    /// Whether the copy has the weight's present values.
    fresh: bool,
}

/// The copies that exist, by their weights.
static COPIES: Mutex<Option<HashMap<TensorId, Weak<Mutex<State>>>>> = Mutex::new(None);

impl RoundedCopy {
    /// `weight` for products with activations of type `elements`: on the CPU itself, for an f32 variable
    /// on a GPU and bf16 the copy, otherwise what [`convert`] gives. Gradients reach the weight if it is
    /// `tracked`. Always ask the same place for the same weight.
    ///
    /// # Errors
    /// Those of [`convert`].
    #[cfg_attr(not(feature = "cuda"), allow(clippy::unused_self))]
    pub fn of(&self, weight: &Tensor, elements: DType, tracked: bool) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        {
            let narrowed = weight.dtype() == DType::F32 && elements == DType::BF16;
            // candle's own graph has no place for a copy.
            let has_place = !tracked || tape::is_running();
            if narrowed && has_place && weight.is_variable() && weight.device().is_cuda() {
                let copy = self.fresh(weight)?;
                if !tracked {
                    return Ok(copy.as_detached_tensor());
                }
                let output = copy.as_tensor().clone();
                tape::record(Box::new(Rounding { weight: [weight.clone()], output: output.clone() }));
                return Ok(output);
            }
        }
        weight_for(&if tracked { weight.clone() } else { weight.detach() }, elements)
    }

    /// The copy with the present values of `weight`.
    #[cfg(feature = "cuda")]
    fn fresh(&self, weight: &Tensor) -> Result<Var> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copy) = state.copy.as_ref().filter(|_| state.fresh) {
            return Ok(copy.clone());
        }
        if is_recording() {
            bail!("a recording does not begin with weights to be rounded");
        }
        let rounded = weight.detach().to_dtype(DType::BF16)?;
        let copy = match &state.copy {
            Some(copy) => {
                overwrite(copy, &rounded)?;
                copy.clone()
            }
            None => Var::from_tensor(&rounded)?,
        };
        (state.copy, state.fresh) = (Some(copy.clone()), true);
        let mut copies = COPIES.lock().unwrap_or_else(PoisonError::into_inner);
        let copies = copies.get_or_insert_default();
        if copies.len() == copies.capacity() {
            copies.retain(|_, copy| copy.strong_count() > 0);
        }
        copies.insert(weight.id(), Arc::downgrade(&self.0));
        Ok(copy)
    }
}

/// `weight`, which other weights were made to, for products with activations of type `elements`: on the
/// CPU itself, on a GPU in that type.
///
/// # Errors
/// Those of [`convert`].
pub fn weight_for(weight: &Tensor, elements: DType) -> Result<Tensor> {
    if weight.device().is_cpu() { Ok(weight.clone()) } else { convert(weight, elements) }
}

/// Overwrites `variable` by `value`, as candle's [`Var::set`] does, and marks its [`RoundedCopy`] as
/// old.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// # fn main() -> candle_core::Result<()> {
/// let weight = Var::new(&[1_f32], &Device::Cpu)?;
/// robustseg_ops::assign(&weight, &Tensor::new(&[2_f32], &Device::Cpu)?)?;
/// assert_eq!(weight.to_vec1::<f32>()?, [2.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes differ, or both share their memory.
pub fn assign(variable: &Var, value: &Tensor) -> Result<()> {
    if let Some(state) = state_of(variable) {
        state.lock().unwrap_or_else(PoisonError::into_inner).fresh = false;
        #[cfg(feature = "cuda")]
        moved();
    }
    overwrite(variable, value)
}

#[expect(clippy::disallowed_methods, reason = "callers look after the copy")]
pub(crate) fn overwrite(variable: &Var, value: &Tensor) -> Result<()> {
    variable.set(value)
}

fn state_of(weight: &Tensor) -> Option<Arc<Mutex<State>>> {
    let copies = COPIES.lock().unwrap_or_else(PoisonError::into_inner);
    copies.as_ref()?.get(&weight.id())?.upgrade()
}

/// The copy of `weight`, if there is one, to be overwritten.
#[cfg(feature = "cuda")]
pub(crate) fn copy_of(weight: &Tensor) -> Option<Var> {
    state_of(weight)?.lock().unwrap_or_else(PoisonError::into_inner).copy.clone()
}

/// Marks the copy of `weight` as one that has the present values.
#[cfg(feature = "cuda")]
pub(crate) fn written(weight: &Tensor) {
    if let Some(state) = state_of(weight) {
        state.lock().unwrap_or_else(PoisonError::into_inner).fresh = true;
    }
}

/// The use of a copy instead of its weight.
#[cfg(feature = "cuda")]
struct Rounding {
    weight: [Tensor; 1],
    output: Tensor,
}

#[cfg(feature = "cuda")]
impl Recorded for Rounding {
    fn inputs(&self) -> &[Tensor] {
        &self.weight
    }

    fn output(&self) -> &Tensor {
        &self.output
    }

    fn backward(&self, gradient: Tensor, _: bool, gradients: &mut Gradients) -> Result<()> {
        gradients.add(self.weight[0].id(), gradient.detach().to_dtype(DType::F32)?)
    }
}
