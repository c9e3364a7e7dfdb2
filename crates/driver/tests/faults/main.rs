//! Faults of machines, systems and files, made for real: each row of `docs/faults.md`.

#[path = "../common/mod.rs"]
mod common;

mod full_disks;
mod kills;
mod limits;
mod odd_images;
mod places;
mod short_run;
mod signals;
mod states;
