//! Datasets on disk: imitations, odd files, and the real ones if available.

mod augmentation;
mod cache;
mod common;
mod crops;
mod faults;
mod labels;
mod layouts;
mod loader;
mod odd_files;
mod real_data;
mod sbd;
mod stamps;
