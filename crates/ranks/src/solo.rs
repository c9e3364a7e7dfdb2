//! The one process of an ordinary run.

use std::time::Duration;

use crate::{Communicator, Pending, Result};

/// A rank without others: every sum is its own, and nothing is sent.
///
/// ```
/// use robustseg_ranks::{Communicator, Solo};
/// assert_eq!(Solo.gather(b"alone")?, [b"alone"]);
/// # Ok::<(), robustseg_ranks::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

impl Communicator for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum_f32(&self, _: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn sum_f64(&self, _: &mut [f64]) -> Result<()> {
        Ok(())
    }

    fn start_sum(&self, values: Vec<f32>) -> Result<Box<dyn Pending>> {
        Ok(Box::new(Ready(values)))
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![own.to_vec()])
    }

    fn leave(&self, failed: bool, _: Duration) -> Option<bool> {
        Some(failed)
    }

    fn abort(&self, _: i32) {}
}

/// A sum that is complete.
struct Ready(Vec<f32>);

impl Pending for Ready {
    fn is_complete(&mut self) -> Result<bool> {
        Ok(true)
    }

    fn wait(self: Box<Self>) -> Result<Vec<f32>> {
        Ok(self.0)
    }
}
