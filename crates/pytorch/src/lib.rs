//! Reads the weights in files that PyTorch's `torch.save` writes (`.pth`, `.pt`): the zip files
//! since PyTorch 1.6 and the pickles before it.
//!
//! Nothing in a file is executed. A pickle is a program for Python; here it runs in a machine that
//! knows containers, numbers, texts and PyTorch's tensors. Every other function or class that the
//! pickle names is a value without content and is never called. A pickle that names a function of
//! the kind that attacks use, such as `os.system`, is refused.
//!
//! A [`TorchFile`] knows the names, types and shapes of all tensors. Values are read one tensor at
//! a time, so memory stays at the size of the largest tensor. Counts, depths and sizes that a file
//! claims are checked before memory is reserved.

mod cursor;
mod dtype;
mod error;
mod fault;
mod file;
mod globals;
mod layout;
mod legacy;
mod machine;
mod object;
mod rebuild;
mod state_dict;
mod tensor;
mod values;
mod zip;

pub use dtype::Dtype;
pub use error::{Error, Result};
pub use file::TorchFile;
pub use tensor::TensorInfo;
