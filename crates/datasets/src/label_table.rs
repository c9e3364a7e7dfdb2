//! Converts the values of label files to class indices.

use crate::{IGNORE_LABEL, LabelMap};

/// The meaning of each value of a label file: a class, [`IGNORE_LABEL`], or none.
#[derive(Clone, Debug)]
pub(crate) struct LabelTable([Option<u8>; 256]);

/// The first value of a label map without a meaning.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Meaningless {
    pub(crate) value: u8,
    pub(crate) x: usize,
    pub(crate) y: usize,
}

impl LabelTable {
    /// `classes` are pairs of a value and its class. The values in `ignored` are not labelled, nor
    /// is 255 unless it belongs to a class.
    pub(crate) fn of_values(classes: impl Iterator<Item = (u8, u8)>, ignored: &[u8]) -> Self {
        let mut table = [None; 256];
        for value in ignored.iter().chain([&IGNORE_LABEL]) {
            table[usize::from(*value)] = Some(IGNORE_LABEL);
        }
        for (value, class) in classes {
            table[usize::from(value)] = Some(class);
        }
        Self(table)
    }

    /// The meaning of `value`.
    pub(crate) fn meaning(&self, value: u8) -> Option<u8> {
        self.0[usize::from(value)]
    }

    /// Values below `ids` are not labelled, except those in `classes`, which are pairs (value,
    /// class). 255 is not labelled.
    pub(crate) fn of_ids(ids: usize, classes: &[(u8, u8)]) -> Self {
        let mut table = [None; 256];
        table[..ids].fill(Some(IGNORE_LABEL));
        table[usize::from(IGNORE_LABEL)] = Some(IGNORE_LABEL);
        for (id, class) in classes {
            table[usize::from(*id)] = Some(*class);
        }
        Self(table)
    }

    /// Converts a label file's values to class indices.
    pub(crate) fn apply(&self, label: &mut LabelMap) -> Result<(), Meaningless> {
        for (pixel, slot) in label.data.iter_mut().enumerate() {
            let value = *slot;
            let (x, y) = (pixel % label.width, pixel / label.width);
            *slot = self.0[usize::from(value)].ok_or(Meaningless { value, x, y })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(data: &[u8]) -> LabelMap {
        LabelMap { width: 2, height: data.len() / 2, data: data.to_vec() }
    }

    #[test]
    fn values_become_classes_and_ignored_ones_255() {
        let mut label = map(&[4, 1, 7, 255]);
        LabelTable::of_values([(4, 0), (1, 1)].into_iter(), &[7]).apply(&mut label).unwrap();
        assert_eq!(label.data, [0, 1, 255, 255]);
    }

    #[test]
    fn a_class_may_have_several_values_and_255_among_them() {
        let mut label = map(&[0, 3, 255, 9]);
        LabelTable::of_values([(0, 0), (3, 1), (255, 1)].into_iter(), &[9]).apply(&mut label).unwrap();
        assert_eq!(label.data, [0, 1, 1, 255]);
    }

    #[test]
    fn ids_become_classes() {
        let mut label = map(&[0, 1, 2, 255]);
        LabelTable::of_ids(3, &[(1, 0)]).apply(&mut label).unwrap();
        assert_eq!(label.data, [255, 0, 255, 255]);
    }

    #[test]
    fn the_first_meaningless_value_is_named() {
        let wrong =
            LabelTable::of_values([(0, 0), (1, 1)].into_iter(), &[]).apply(&mut map(&[0, 1, 0, 9, 8, 8]));
        assert_eq!(wrong, Err(Meaningless { value: 9, x: 1, y: 1 }));
    }
}
