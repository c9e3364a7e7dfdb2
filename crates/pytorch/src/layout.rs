//! Where the elements of a tensor lie in its storage.

use crate::fault::{Checked, broken};

/// Most axes of a tensor.
pub(crate) const MOST_AXES: usize = 16;

/// Most elements of a tensor that has more of them than its storage, as an expanded one has: those
/// of the largest layer of a large network.
const MOST_EXPANDED: u64 = 1 << 25;

/// Sizes and strides of a tensor, and its first element, in elements of its storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    offset: u64,
    shape: Vec<usize>,
    strides: Vec<u64>,
    /// Number of elements.
    count: u64,
    /// One past the largest used element of the storage.
    end: u64,
}

impl Layout {
    /// The layout of a tensor in a storage of `stored` elements.
    pub(crate) fn new(offset: u64, shape: Vec<usize>, strides: Vec<u64>, stored: u64) -> Checked<Self> {
        if shape.len() != strides.len() || shape.len() > MOST_AXES {
            return broken(format!("a tensor has {} sizes and {} strides", shape.len(), strides.len()));
        }
        // An axis without elements must not hide that the others have too many.
        let count = shape.iter().try_fold(1_u64, |count, size| count.checked_mul((*size).max(1) as u64));
        let count = if shape.contains(&0) { count.map(|_| 0) } else { count };
        let end = match count {
            Some(0) => Some(offset),
            _ => shape.iter().zip(&strides).try_fold(offset.saturating_add(1), |end, (size, stride)| {
                end.checked_add((*size as u64).saturating_sub(1).checked_mul(*stride)?)
            }),
        };
        match (count, end) {
            (Some(count), Some(end)) if end <= stored => {
                let layout = Self { offset, shape, strides, count, end };
                if layout.is_within(stored) {
                    Ok(layout)
                } else {
                    broken("a tensor repeats its storage endlessly")
                }
            }
            _ => {
                broken(format!("a tensor of shape {shape:?} reaches beyond its storage of {stored} numbers"))
            }
        }
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether the tensor has no more elements than a storage of `stored`, or few.
    pub(crate) fn is_within(&self, stored: u64) -> bool {
        self.count <= stored.max(MOST_EXPANDED)
    }

    /// The elements of the storage for all of the tensor: the first, and one past the last.
    pub(crate) fn span(&self) -> (u64, u64) {
        (self.offset, self.end)
    }

    /// Whether the elements lie in the storage one after the other.
    pub(crate) fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(size, stride)| {
            let fits = *size == 1 || *stride == expected;
            expected *= *size as u64;
            fits
        })
    }

    /// `span`, the numbers of [`Layout::span`], in the order of the tensor.
    pub(crate) fn gather(&self, span: &[f32]) -> Vec<f32> {
        let mut gathered = Vec::with_capacity(self.count as usize);
        let (mut index, mut at) = (vec![0; self.shape.len()], 0_u64);
        for _ in 0..self.count {
            gathered.push(span[at as usize]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= self.strides[axis] * self.shape[axis] as u64;
                index[axis] = 0;
            }
        }
        gathered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_gathered_along_their_strides() {
        let span: Vec<f32> = (0..6_u8).map(f32::from).collect();
        let gather = |shape: &[usize], strides: &[u64]| {
            let layout = Layout::new(0, shape.to_vec(), strides.to_vec(), 6).ok().unwrap();
            (layout.is_contiguous(), layout.gather(&span))
        };
        assert_eq!(gather(&[2, 3], &[3, 1]), (true, vec![0., 1., 2., 3., 4., 5.]));
        assert_eq!(gather(&[3, 2], &[1, 3]), (false, vec![0., 3., 1., 4., 2., 5.]));
        assert_eq!(gather(&[2, 1, 2], &[2, 9, 1]), (true, vec![0., 1., 2., 3.]));
        assert_eq!(gather(&[2, 2], &[0, 2]), (false, vec![0., 2., 0., 2.]));
        assert_eq!(gather(&[], &[]), (true, vec![0.]));
        assert_eq!(gather(&[0, 4], &[4, 1]), (true, vec![]));
    }

    #[test]
    fn elements_beyond_the_storage_are_refused() {
        for (offset, shape, strides, stored) in [
            (0, vec![7], vec![1], 6),
            (1, vec![6], vec![1], 6),
            (0, vec![2, 2], vec![5, 1], 6),
            (u64::MAX, vec![], vec![], 6),
            (7, vec![0], vec![1], 6),
            (0, vec![usize::MAX, usize::MAX], vec![0, 0], 6),
            (0, vec![0, usize::MAX, usize::MAX], vec![0, usize::MAX as u64, 1], 6),
            (0, vec![1 << 30], vec![0], 6),
            (0, vec![2], vec![u64::MAX], 6),
            (0, vec![1], vec![], 6),
            (0, vec![1; 17], vec![1; 17], 6),
        ] {
            assert!(Layout::new(offset, shape.clone(), strides, stored).is_err(), "{shape:?}");
        }
    }
}
