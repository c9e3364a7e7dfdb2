//! What files leave out of a network's settings.

/// Whether a setting is at its default.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
