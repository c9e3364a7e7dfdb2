//! From an experiment's spec to its robustness report: the command line of robustseg.
//!
//! A [`spec::Spec`] becomes a [`plan::Plan`] with opened data, the network and the number of steps.
//! The plan becomes a training in a [`run_directory::RunDirectory`], and its evaluation becomes a
//! report. Each command is a file in `commands`. [`exit`] maps errors to exit statuses, and
//! [`device`] chooses the device.

// Must come first, because its macros replace those of the standard library.
#[macro_use]
mod output;

mod check_cache;
mod checkpoint;
mod cli;
mod commands;
mod data;
pub mod device;
pub mod draw;
pub mod exit;
mod fit_memory;
mod identity;
mod image_file;
mod inputs;
mod interrupt;
mod lock;
mod log;
mod memory;
mod number;
mod observer;
pub mod pages;
mod panic;
pub mod plan;
mod preparation;
mod progress;
mod protocol;
pub mod provenance;
mod ranks;
mod record;
pub mod records;
#[cfg(test)]
mod records_page;
mod results;
pub mod run_directory;
mod same_result;
mod sources;
pub mod spec;
mod sweep;
mod warm_start;
mod window;

pub use cli::main;
