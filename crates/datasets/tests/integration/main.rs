//! Datasets as they lie on disk: fake ones, odd files, and the real ones where they are there.

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
