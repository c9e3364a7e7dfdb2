//! Code for the widest vectors that the processor has.

/// Runs `work`, compiled for those vectors.
pub(super) fn wide<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}
