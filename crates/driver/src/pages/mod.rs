//! The pages of results: a run's report, and the comparison of several runs.
//!
//! A run directory is enough to make its report. [`write_report`] reads its files into a
//! [`RunSummary`] and renders `figures/*`, `tables/*` and `report.html`. [`Gallery`] writes the
//! examples as PNGs into `figures/examples`. [`compare`] does the same as a report for several
//! runs. Everything is drawn with [`crate::draw`].

mod compare;
mod confusions;
mod curves;
mod figures;
mod gallery;
mod legends;
mod names;
mod run;
mod summary;
mod tables;
pub mod warnings;

pub(crate) use compare::compare_in;
pub use compare::{ComparedRun, Comparison, ComparisonRecord, compare};
pub use gallery::{Gallery, GalleryExample};
pub(crate) use names::shortened;
pub use names::{curve_title, paper_name};
pub use run::write_report;
pub use summary::RunSummary;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod rendered;
