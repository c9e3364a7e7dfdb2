//! The tests of the workspace as a whole: `tests/goldens` holds the numbers to PyTorch's, `tests/layering` the
//! crates to their rooms, `tests/repository` the documents and files to each other. This library is empty.
