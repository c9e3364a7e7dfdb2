//! Real faults of machines, systems and files, one for each row of `docs/faults.md`.

#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

mod clocks;
mod evaluations;
mod full_disks;
mod kills;
mod limits;
mod no_locks;
mod odd_images;
mod pictures;
mod places;
mod power_cuts;
mod shim;
mod short_run;
mod signals;
mod states;
