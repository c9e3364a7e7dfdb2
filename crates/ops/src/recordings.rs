//! Passes that a GPU repeats from a recording.

use candle_core::{Result, Tensor, Var};

/// The passes over one network that a GPU repeats.
///
/// A pass of a small network, or a fast GPU, waits for the host, which starts some two thousand kernels
/// one by one. A GPU can record them in a CUDA graph, which it then runs at one call. The third pass of
/// a kind is recorded. The recording takes the place of the pass if it gives the same bits.
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
    /// `compute` may read other tensors, such as weights, that stay where they are: that are overwritten
    /// and never replaced. It must start the same kernels each time, and read nothing back on the host.
    /// A pass that does otherwise goes on without a recording.
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
        compute(&pass.inputs.iter().map(|input| input.detach()).collect::<Vec<_>>())
    }
}
