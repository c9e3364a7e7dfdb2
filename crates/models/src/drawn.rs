//! Random numbers that a pass draws, and that its repetition draws again.

use rand::{Rng, TryRng};
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

/// All that was drawn, in the order in which it was.
#[derive(Clone, Default)]
pub(crate) struct Drawn(Rc<RefCell<Vec<u8>>>);

impl Drawn {
    /// `random`, keeping what it gives.
    pub(crate) fn from<'a>(&self, random: &'a mut dyn Rng) -> impl Rng + use<'a> {
        Recorder { random, drawn: self.clone() }
    }

    /// The same numbers from the first on, for the same calls.
    pub(crate) fn again(&self) -> impl Rng + use<> {
        Replay { drawn: self.clone(), next: 0 }
    }
}

struct Recorder<'a> {
    random: &'a mut dyn Rng,
    drawn: Drawn,
}

impl TryRng for Recorder<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let number = self.random.next_u32();
        self.drawn.0.borrow_mut().extend(number.to_le_bytes());
        Ok(number)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let number = self.random.next_u64();
        self.drawn.0.borrow_mut().extend(number.to_le_bytes());
        Ok(number)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.random.fill_bytes(bytes);
        self.drawn.0.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }
}

struct Replay {
    drawn: Drawn,
    next: usize,
}

impl Replay {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill_bytes(&mut bytes);
        bytes
    }
}

impl TryRng for Replay {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.take()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.take()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(&self.drawn.0.borrow()[self.next..][..bytes.len()]);
        self.next += bytes.len();
        Ok(())
    }
}
