//! A tape: the record of a computation, and the backward pass over it.
//!
//! While a [`Tape`] of this thread runs, operations of this crate record themselves on it instead of
//! in candle's graph. The backward pass reads the record from its end. Three things make it cheaper
//! than candle's, which fills a tensor with zeros for every gradient and adds the gradient to it:
//! the first contribution to a gradient is the gradient, an activation is released as soon as the
//! last operation that used it has been read, and an operation may overwrite a gradient that nobody
//! else holds.
//!
//! candle's own operations may stand anywhere between those of this crate. The results of recorded
//! operations are variables for candle, so it records what it computes from them. Such a part is one
//! entry of the tape, which candle differentiates.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::marker::PhantomData;

use crate::candle_part::gradients_through;
use crate::gradients::Gradients;
use candle_core::{Result, Tensor, TensorId};

thread_local! {
    /// The tapes that run, the innermost last.
    static RUNNING: RefCell<Vec<Record>> = const { RefCell::new(Vec::new()) };
}

/// Records the operations that this thread computes, until it is dropped or read backwards.
///
/// Tapes nest: operations record themselves on the innermost, for which results on the outer ones
/// are variables.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use robustseg_ops::{Arithmetic, Conv2dConfig, Tape, conv2d};
/// # fn main() -> candle_core::Result<()> {
/// let image = Tensor::ones((1, 4, 4, 1), candle_core::DType::F32, &Device::Cpu)?;
/// let weight = Var::ones((1, 1, 1, 1), candle_core::DType::F32, &Device::Cpu)?;
///
/// let tape = Tape::start();
/// let scores = conv2d(&image, &weight, Conv2dConfig::default(), Arithmetic::default())?;
/// let gradients = tape.backward(&scores.sum_all()?)?;
/// assert_eq!(gradients.get(&weight).unwrap().flatten_all()?.to_vec1::<f32>()?, [16.0]);
/// # Ok(())
/// # }
/// ```
#[must_use = "a tape records nothing after it is dropped"]
#[derive(Debug)]
pub struct Tape {
    /// The number of tapes that run, this one included.
    depth: usize,
    /// A tape belongs to its thread.
    thread: PhantomData<*const ()>,
}

/// What a tape has recorded.
#[derive(Default)]
struct Record {
    entries: Vec<Entry>,
    /// The tensors that entries compute.
    known: HashSet<TensorId>,
    /// How many operations of this crate were computed on each variable.
    uses: HashMap<TensorId, usize>,
    /// The number of entries that may reach variables which they do not name: candle's, and those that
    /// contain such entries.
    of_candle: usize,
}

/// A part of a computation.
enum Entry {
    /// An operation of this crate.
    Operation(Box<dyn Recorded>),
    /// A tensor that operations of candle compute.
    Candle(Tensor),
}

/// An operation with the tensors that it was computed on.
pub(crate) trait Recorded {
    /// The tensors that it was computed on.
    fn inputs(&self) -> &[Tensor];

    /// Its output.
    fn output(&self) -> &Tensor;

    /// Adds the gradients of those inputs that need one to `gradients`, those found so far, given its
    /// output's. `owned` says whether it may overwrite that.
    fn backward(&self, gradient: Tensor, owned: bool, gradients: &mut Gradients) -> Result<()>;

    /// Whether it computes gradients of other tensors than its inputs.
    fn hides_variables(&self) -> bool {
        false
    }
}

impl Tape {
    /// Starts to record.
    pub fn start() -> Self {
        let depth = RUNNING.with_borrow_mut(|running| {
            running.push(Record::default());
            running.len()
        });
        Self { depth, thread: PhantomData }
    }

    /// The gradients of `value`, or of its sum if it has several elements, with respect to all
    /// variables that it depends on. Ends the record. Activations are released on the way.
    ///
    /// # Errors
    /// If an operation has no gradient, or its computation fails.
    pub fn backward(self, value: &Tensor) -> Result<Gradients> {
        self.backward_with(value, |_, _| Ok(()))
    }

    /// [`Tape::backward`], which calls `ready` with each gradient of a variable as soon as it is
    /// complete, so that it can be sent to other processes while the rest is computed. The last
    /// operations' variables come first. Every gradient that the result holds is passed once.
    ///
    /// candle may compute anything from a variable. While any of its operations are left to
    /// differentiate, gradients wait for them, and then come in any order.
    ///
    /// ```
    /// # use candle_core::{Device, DType, Result, Var};
    /// # use robustseg_ops::{Arithmetic, Conv2dConfig, Tape, conv2d};
    /// # fn main() -> Result<()> {
    /// let image = Var::ones((1, 4, 4, 1), DType::F32, &Device::Cpu)?;
    /// let weight = Var::ones((1, 1, 1, 1), DType::F32, &Device::Cpu)?;
    /// let tape = Tape::start();
    /// let scores = conv2d(&image, &weight, Conv2dConfig::default(), Arithmetic::default())?;
    /// let mut complete = Vec::new();
    /// tape.backward_with(&scores, |variable, _| Ok(complete.push(variable)))?;
    /// assert_eq!(complete, [image.id(), weight.id()]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Tape::backward`], and those of `ready`, which end the pass.
    pub fn backward_with(
        self,
        value: &Tensor,
        ready: impl FnMut(TensorId, &Tensor) -> Result<()>,
    ) -> Result<Gradients> {
        let mut gradients = Gradients::default();
        if value.track_op() {
            gradients.insert(value, value.ones_like()?.detach());
            self.read(value, &mut gradients, ready)?;
        }
        Ok(gradients)
    }

    /// Reads the record of `value` from its end. Takes that tensor's gradient from `gradients`, and adds
    /// those of the variables to them.
    pub(crate) fn read(
        self,
        value: &Tensor,
        gradients: &mut Gradients,
        mut ready: impl FnMut(TensorId, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let mut record = self.end();
        record.know(value);
        // Variables that no operation of this crate is left to read.
        let mut read = record.unused(value.id()).into_iter().collect::<Vec<_>>();
        while let Some(entry) = record.entries.pop() {
            match entry {
                Entry::Operation(recorded) => {
                    record.of_candle -= usize::from(recorded.hides_variables());
                    if let Some(gradient) = gradients.take(recorded.output().id()) {
                        let owned = !gradients.share(&gradient);
                        recorded.backward(gradient, owned, gradients)?;
                    }
                    read.extend(recorded.inputs().iter().filter_map(|input| record.release(input.id())));
                }
                Entry::Candle(tensor) => {
                    record.of_candle -= 1;
                    let Some(gradient) = gradients.take(tensor.id()) else { continue };
                    for (id, gradient) in gradients_through(&tensor, gradient)? {
                        gradients.add(id, gradient)?;
                        read.extend(record.unused(id));
                    }
                }
            }
            if record.of_candle == 0 {
                announce(gradients, &mut read, &mut ready)?;
            }
        }
        announce(gradients, &mut read, &mut ready)
    }

    /// Ends the record and forgets it. Returns the variables whose gradients it would have given, and
    /// whether there may be others, which operations of candle have used.
    pub(crate) fn forget(self) -> (Vec<Tensor>, bool) {
        let Record { entries, mut known, of_candle, .. } = self.end();
        let mut variables = Vec::new();
        for entry in entries {
            let Entry::Operation(recorded) = entry else { continue };
            for input in recorded.inputs() {
                if input.is_variable() && known.insert(input.id()) {
                    variables.push(input.clone());
                }
            }
        }
        (variables, of_candle > 0)
    }

    /// Takes this tape, and any left within it, off the running ones.
    fn end(&self) -> Record {
        RUNNING.with_borrow_mut(|running| {
            running.truncate(self.depth);
            if running.len() == self.depth { running.pop() } else { None }.unwrap_or_default()
        })
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.end();
    }
}

impl Record {
    /// Makes sure that the gradient of `tensor` finds its way.
    fn know(&mut self, tensor: &Tensor) {
        if tensor.track_op() && !tensor.is_variable() && self.known.insert(tensor.id()) {
            self.entries.push(Entry::Candle(tensor.clone()));
            self.of_candle += 1;
        }
    }

    /// Counts an operation on `tensor`, if that is a variable.
    fn count(&mut self, tensor: &Tensor) {
        if tensor.is_variable() && !self.known.contains(&tensor.id()) {
            *self.uses.entry(tensor.id()).or_default() += 1;
        }
    }

    /// Takes back one use of `id`. Returns it if that was the last use of a variable.
    fn release(&mut self, id: TensorId) -> Option<TensorId> {
        let uses = self.uses.get_mut(&id)?;
        *uses -= 1;
        (*uses == 0).then_some(id)
    }

    /// Returns `id` if it is a variable that no operation of this crate is left to read.
    fn unused(&self, id: TensorId) -> Option<TensorId> {
        let read = self.uses.get(&id).is_some_and(|uses| *uses > 0);
        (!read && !self.known.contains(&id)).then_some(id)
    }
}

/// Calls `ready` with the gradients of the variables in `complete`, once for each, and empties it.
fn announce(
    gradients: &Gradients,
    complete: &mut Vec<TensorId>,
    ready: &mut impl FnMut(TensorId, &Tensor) -> Result<()>,
) -> Result<()> {
    let mut seen = HashSet::new();
    for id in complete.drain(..).filter(|id| seen.insert(*id)) {
        if let Some(gradient) = gradients.of(id) {
            ready(id, gradient)?;
        }
    }
    Ok(())
}

/// Whether a tape of this thread runs.
pub(crate) fn is_running() -> bool {
    RUNNING.with_borrow(|running| !running.is_empty())
}

/// Records an operation on the innermost tape that runs.
pub(crate) fn record(recorded: Box<dyn Recorded>) {
    RUNNING.with_borrow_mut(|running| {
        if let Some(record) = running.last_mut() {
            for input in recorded.inputs() {
                record.know(input);
                record.count(input);
            }
            record.known.insert(recorded.output().id());
            record.of_candle += usize::from(recorded.hides_variables());
            record.entries.push(Entry::Operation(recorded));
        }
    });
}
