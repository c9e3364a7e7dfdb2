//! The tests of the workspace as a whole. `tests/goldens` compares results with PyTorch's,
//! `tests/layering` checks the crates' dependencies, and `tests/repository` checks that documents
//! and files agree. This library is empty.
