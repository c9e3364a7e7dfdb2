//! Passes that a GPU repeats from a recording.

use candle_core::{Result, Tensor, Var};

/// The passes over one network that a GPU repeats.
///
/// In a small network, or on a fast GPU, a pass waits for the host, which starts some two thousand kernels
/// one by one. A GPU can record them in a CUDA graph and run that by one call. The third pass of a kind is
/// recorded. From then on the recording replaces the pass, provided that it gave the same bits.
///
/// The CPU computes every pass.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::{Pass, Recordings};
/// # fn main() -> candle_core::Result<()> {
/// let (recordings, factor) = (Recordings::default(), Tensor::new(&[2_f32, 3.0], &Device::Cpu)?);
/// let scale = |inputs: &[Tensor]| Ok(vec![(&inputs[0] * &factor)?]);
/// let image = Tensor::new(&[1_f32, 2.0], &Device::Cpu)?;
/// let scaled = recordings.run(&Pass { name: "scale", inputs: &[&image], overwritten: &[] }, scale)?;
/// assert_eq!(scaled[0].to_vec1::<f32>()?, [2.0, 6.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Recordings {
    /// Whose passes they are.
    #[cfg(feature = "cuda")]
    owner: std::sync::Arc<()>,
}

/// What a pass works on.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// Tells passes with inputs of the same shapes apart.
    pub name: &'a str,
    /// The tensors that differ from pass to pass, all on one device.
    pub inputs: &'a [&'a Tensor],
    /// The variables that the pass overwrites, such as running statistics.
    pub overwritten: &'a [Var],
}

impl Recordings {
    /// The tensors that `compute` gives for the pass's inputs, which it gets detached.
    ///
    /// `compute` may read other tensors that stay in place, such as weights: they may be overwritten, but
    /// not replaced. It must start the same kernels each time, read nothing back on the host, and keep no
    /// tensor. A pass that copies from or to the host is computed every time.
    ///
    /// A thread records only if no other living thread has computed on a GPU with this crate. Threads that
    /// use nothing but candle's operations must not use the GPU meanwhile.
    ///
    /// # Errors
    /// Those of `compute`.
    pub fn run(
        &self,
        pass: &Pass<'_>,
        compute: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    ) -> Result<Vec<Tensor>> {
        #[cfg(feature = "cuda")]
        if let Some(device) = crate::cuda::recordings::device_of(pass) {
            return crate::cuda::recordings::run(&self.owner, device, pass, &compute);
        }
        pass.compute(compute)
    }
}

impl Pass<'_> {
    /// The tensors that `compute` gives for the inputs, which it gets detached.
    ///
    /// # Errors
    /// Those of `compute`.
    pub fn compute(&self, compute: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>) -> Result<Vec<Tensor>> {
        compute(&self.detached())
    }

    pub(crate) fn detached(&self) -> Vec<Tensor> {
        self.inputs.iter().map(|input| input.detach()).collect()
    }
}
