//! What a rank can do with the others.

use std::sync::Arc;
use std::time::Duration;

use crate::Result;

/// A shared [`Communicator`].
pub type Ranks = Arc<dyn Communicator>;

/// A rank's connection to the others.
///
/// All ranks call the same operations in the same order, from one thread each. An operation takes
/// place among all of them.
pub trait Communicator: Send + Sync {
    /// The number of this rank, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Replaces `values` by their sums over all ranks, which are the same everywhere.
    ///
    /// # Errors
    /// [`Error::Gone`](crate::Error::Gone) if a rank has ended.
    fn sum_f32(&self, values: &mut [f32]) -> Result<()>;

    /// [`Communicator::sum_f32`] in double precision.
    ///
    /// # Errors
    /// As [`Communicator::sum_f32`].
    fn sum_f64(&self, values: &mut [f64]) -> Result<()>;

    /// Begins [`Communicator::sum_f32`] and returns while it takes place. All ranks begin their sums
    /// in the same order.
    ///
    /// # Errors
    /// As [`Communicator::sum_f32`].
    fn start_sum(&self, values: Vec<f32>) -> Result<Box<dyn Pending>>;

    /// The bytes of every rank, in their order. Ranks may give different numbers of bytes.
    ///
    /// # Errors
    /// As [`Communicator::sum_f32`].
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Waits at most `limit` until every rank has called this, after which none calls another
    /// operation. Returns whether rank 0 has `failed`, or `None` if not all have called it.
    ///
    /// A rank that fails calls it before it ends. If the others have failed too, all of them end in
    /// order. Otherwise one may be waiting for a sum that never comes, and
    /// [`Communicator::abort`] is due.
    fn leave(&self, failed: bool, limit: Duration) -> Option<bool>;

    /// Ends all ranks at once with exit status `status`. Between processes it does not return.
    fn abort(&self, status: i32);

    /// Whether this is rank 0, the one that writes files.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// The bytes that rank 0 gives. Those of others are ignored.
    ///
    /// # Errors
    /// As [`Communicator::sum_f32`].
    fn broadcast(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let own: &[u8] = if self.is_first() { bytes } else { &[] };
        Ok(self.gather(own)?.swap_remove(0))
    }

    /// Whether any rank says so.
    ///
    /// # Errors
    /// As [`Communicator::sum_f32`].
    fn any(&self, own: bool) -> Result<bool> {
        let mut count = [f64::from(u8::from(own))];
        self.sum_f64(&mut count)?;
        Ok(count[0] > 0.0)
    }
}

/// A sum on its way.
pub trait Pending {
    /// Drives the sum on. Returns whether it is complete.
    ///
    /// # Errors
    /// As [`Communicator::sum_f32`].
    fn is_complete(&mut self) -> Result<bool>;

    /// Waits for the sum.
    ///
    /// # Errors
    /// As [`Communicator::sum_f32`].
    fn wait(self: Box<Self>) -> Result<Vec<f32>>;
}
