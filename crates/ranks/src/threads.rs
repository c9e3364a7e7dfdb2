//! Ranks that are threads of one process, for tests.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Communicator, Error, Pending, Ranks, Result, from_bytes, to_bytes};

/// `size` connected ranks, one for each thread of a test. A rank that is dropped counts as ended.
pub fn threads(size: usize) -> Vec<Ranks> {
    let (work, end) = (Arc::new(Meeting::new(size)), Arc::new(Meeting::new(size)));
    let rank = |rank| Thread { rank, size, work: Arc::clone(&work), end: Arc::clone(&end) };
    (0..size).map(|index| Arc::new(rank(index)) as Ranks).collect()
}

/// A rank in the form of a thread. [`threads`] makes them.
pub struct Thread {
    rank: usize,
    size: usize,
    /// Where operations meet.
    work: Arc<Meeting>,
    /// Where [`Communicator::leave`] meets.
    end: Arc<Meeting>,
}

impl Communicator for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum_f32(&self, values: &mut [f32]) -> Result<()> {
        let all = self.gather(&to_bytes(values, f32::to_le_bytes))?;
        add(values, &all, f32::from_le_bytes)
    }

    fn sum_f64(&self, values: &mut [f64]) -> Result<()> {
        let all = self.gather(&to_bytes(values, f64::to_le_bytes))?;
        add(values, &all, f64::from_le_bytes)
    }

    fn start_sum(&self, values: Vec<f32>) -> Result<Box<dyn Pending>> {
        let rank =
            Self { rank: self.rank, size: 0, work: Arc::clone(&self.work), end: Arc::clone(&self.end) };
        Ok(Box::new(Later { rank, values }))
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.work.exchange(self.rank, own.to_vec(), None)
    }

    fn leave(&self, failed: bool, limit: Duration) -> Option<bool> {
        let all = self.end.exchange(self.rank, vec![u8::from(failed)], Some(limit)).ok()?;
        Some(all[0] == [1])
    }

    fn abort(&self, _: i32) {
        self.work.close();
        self.end.close();
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // A pending sum is not a rank.
        if self.size > 0 {
            self.work.close();
        }
    }
}

/// A sum that takes place when it is waited for.
struct Later {
    rank: Thread,
    values: Vec<f32>,
}

impl Pending for Later {
    fn is_complete(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn wait(mut self: Box<Self>) -> Result<Vec<f32>> {
        self.rank.sum_f32(&mut self.values)?;
        Ok(self.values)
    }
}

/// A place where every rank leaves bytes and takes those of all.
struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    given: Vec<Option<Vec<u8>>>,
    /// The bytes of all, until every rank has taken them.
    complete: Option<Arc<Vec<Vec<u8>>>>,
    taken: usize,
    closed: bool,
}

impl Meeting {
    fn new(size: usize) -> Self {
        let state = State { given: vec![None; size], ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, until `limit` if there is one, while `blocked`. Fails if a rank has ended.
    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        limit: Option<Instant>,
        blocked: impl Fn(&State) -> bool,
    ) -> Result<MutexGuard<'a, State>> {
        while blocked(&state) {
            let left = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
            if state.closed || left == Some(Duration::ZERO) {
                return Err(Error::Gone);
            }
            let left = left.unwrap_or(Duration::from_secs(3600));
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(state)
    }

    fn exchange(&self, rank: usize, own: Vec<u8>, limit: Option<Duration>) -> Result<Vec<Vec<u8>>> {
        let limit = limit.and_then(|limit| Instant::now().checked_add(limit));
        // The meeting before this one is over when all have taken its bytes.
        let mut state = self.wait(self.lock(), limit, |state| state.complete.is_some())?;
        // A rank that failed here may have left its bytes behind.
        if state.closed {
            return Err(Error::Gone);
        }
        state.given[rank] = Some(own);
        if state.given.iter().all(Option::is_some) {
            let all = state.given.iter_mut().filter_map(Option::take).collect();
            state.complete = Some(Arc::new(all));
            self.changed.notify_all();
        }
        let mut state = self.wait(state, limit, |state| state.complete.is_none())?;
        let all = state.complete.clone().unwrap_or_default();
        state.taken += 1;
        if state.taken == state.given.len() {
            (state.taken, state.complete) = (0, None);
            self.changed.notify_all();
        }
        Ok(all.to_vec())
    }
}

/// Replaces `values` by the sums of `all`, added in the order of the ranks.
fn add<T, const N: usize>(values: &mut [T], all: &[Vec<u8>], from: impl Fn([u8; N]) -> T) -> Result<()>
where
    T: Copy + Default + std::ops::Add<Output = T>,
{
    let own = values.len() * N;
    if let Some(other) = all.iter().find(|bytes| bytes.len() != own) {
        return Err(Error::Disagreement { own: values.len(), other: other.len() / N });
    }
    values.fill(T::default());
    for bytes in all {
        for (sum, value) in values.iter_mut().zip(from_bytes(bytes, &from)) {
            *sum = *sum + value;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// What `work` gives on each of `size` ranks.
    fn on_each<T: Send + 'static>(size: usize, work: impl Fn(Ranks) -> T + Copy + Send + 'static) -> Vec<T> {
        let running: Vec<_> =
            threads(size).into_iter().map(|rank| thread::spawn(move || work(rank))).collect();
        running.into_iter().map(|rank| rank.join().expect("a rank")).collect()
    }

    #[test]
    fn many_operations_in_a_row_meet_in_order() {
        let sums = on_each(3, |rank| {
            let mut sums = Vec::new();
            for round in 0..100_u8 {
                let mut values = [f32::from(round), rank.rank() as f32];
                rank.sum_f32(&mut values).unwrap();
                let all = rank.gather(&vec![round; rank.rank()]).unwrap();
                assert_eq!(all, [vec![], vec![round], vec![round; 2]]);
                sums.push(values);
            }
            sums
        });
        for sums in sums {
            assert!(sums.iter().enumerate().all(|(round, sum)| *sum == [3.0 * round as f32, 3.0]));
        }
    }

    #[test]
    fn a_broadcast_is_rank_0s_and_any_is_anyones() {
        for (size, (bytes, any)) in [1, 4].into_iter().flat_map(|size| {
            let all = on_each(size, |rank| {
                (rank.broadcast(&[rank.rank() as u8]).unwrap(), rank.any(rank.rank() == 3).unwrap())
            });
            all.into_iter().map(move |one| (size, one))
        }) {
            assert_eq!((bytes, any), (vec![0], size == 4));
        }
    }

    #[test]
    fn sums_that_were_started_arrive() {
        let sums = on_each(2, |rank| {
            let pending: Vec<_> =
                [1.0, 2.0].map(|value| rank.start_sum(vec![value; 3]).unwrap()).into_iter().collect();
            pending.into_iter().map(|sum| sum.wait().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(sums, [[[2.0; 3], [4.0; 3]], [[2.0; 3], [4.0; 3]]]);
    }

    #[test]
    fn an_ended_or_aborting_rank_fails_the_others_instead_of_hanging_them() {
        let ended = on_each(3, |rank| rank.rank() == 1 || matches!(rank.any(true), Err(Error::Gone)));
        assert_eq!(ended, [true; 3]);
        let aborted = on_each(2, |rank| {
            if rank.is_first() {
                rank.abort(4);
            }
            matches!(rank.any(true), Err(Error::Gone))
        });
        assert_eq!(aborted, [true; 2]);
    }

    #[test]
    fn ranks_leave_together_or_notice_that_one_does_not() {
        let limit = Duration::from_secs(20);
        assert_eq!(on_each(3, move |rank| rank.leave(rank.is_first(), limit)), [Some(true); 3]);
        assert_eq!(on_each(3, move |rank| rank.leave(!rank.is_first(), limit)), [Some(false); 3]);
        let left =
            on_each(
                2,
                |rank| if rank.is_first() { rank.leave(true, Duration::from_millis(20)) } else { None },
            );
        assert_eq!(left, [None; 2]);
    }

    #[test]
    fn different_numbers_of_values_are_refused() {
        let refused = on_each(2, |rank| {
            let mut values = vec![1.0; 1 + rank.rank()];
            matches!(rank.sum_f32(&mut values), Err(Error::Disagreement { .. }))
        });
        assert_eq!(refused, [true; 2]);
    }
}
