//! Work done in advance on rayon's threads, with results in order.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use crate::{Error, Result};

/// Started jobs, oldest first. Each has its own channel with room for its result, so that no thread
/// of rayon ever waits. The caller decides how many jobs are started.
pub(crate) struct Prefetch<T>(VecDeque<(String, Receiver<Result<T>>)>);

impl<T> Default for Prefetch<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Send + 'static> Prefetch<T> {
    /// The number of jobs whose results were not taken yet.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Starts a job for the sample `id`.
    pub(crate) fn push(&mut self, id: String, job: impl FnOnce() -> Result<T> + Send + 'static) {
        let (sender, receiver) = sync_channel(1);
        self.0.push_back((id.clone(), receiver));
        rayon::spawn(move || {
            // The receiver is gone if nobody needs the result any more.
            let _ = sender.send(guarded(&id, job));
        });
    }

    /// Waits for the result of the oldest job. `None` if there is no job.
    pub(crate) fn next(&mut self) -> Option<Result<T>> {
        let (id, receiver) = self.0.pop_front()?;
        Some(wait(&receiver).unwrap_or_else(|| Err(Error::Panic { id, message: "its job is gone".into() })))
    }
}

/// Waits for a result. A thread of rayon does other jobs meanwhile, because it may be the only one
/// available.
fn wait<T>(receiver: &Receiver<Result<T>>) -> Option<Result<T>> {
    loop {
        match receiver.try_recv() {
            Ok(result) => return Some(result),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => match rayon::yield_now() {
                Some(rayon::Yield::Executed) => {}
                Some(rayon::Yield::Idle) => std::thread::yield_now(),
                None => return receiver.recv().ok(),
            },
        }
    }
}

/// Runs a job for the sample `id`. A panic becomes an error.
pub(crate) fn guarded<T>(id: &str, job: impl FnOnce() -> Result<T>) -> Result<T> {
    let fault = |panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let message = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Error::Panic { id: id.to_owned(), message }
    };
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|panic| Err(fault(panic)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(threads: usize) -> Vec<String> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut prefetch = Prefetch::default();
            for job in 0..20_u64 {
                prefetch.push(format!("job {job}"), move || {
                    std::thread::sleep(std::time::Duration::from_millis(job * 7 % 5));
                    assert!(job != 11, "eleven");
                    Ok(job)
                });
            }
            let results = std::iter::from_fn(|| prefetch.next());
            results.map(|result| result.map_or_else(|e| e.to_string(), |job| job.to_string())).collect()
        })
    }

    #[test]
    fn results_come_in_order_and_a_panic_is_an_error() {
        let mut expected: Vec<String> = (0..20).map(|job| job.to_string()).collect();
        expected[11] = "sample job 11: loading it panicked: eleven".into();
        for threads in [1, 3] {
            assert_eq!(results(threads), expected);
        }
    }
}
