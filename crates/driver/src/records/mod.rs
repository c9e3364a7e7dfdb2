//! The records of a run directory: the files that programs read.

pub(crate) mod event_reader;
mod json;

pub(crate) use json::read_json;
