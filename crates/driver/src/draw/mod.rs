//! A drawing kit for results: charts, tables, pictures, and HTML pages that open without a network.
//!
//! It knows numbers, names and pixels, but neither runs nor evaluations; [`crate::pages`] gives it
//! what to draw.

pub mod chart;
mod contact_sheet;
mod drawing;
mod escape;
mod font;
pub mod html;
mod legend;
mod overlay;
pub mod picture;
mod swatches;
pub mod table;
pub mod time;

pub use contact_sheet::contact_sheet;
pub use legend::legend;
pub use overlay::overlay_with_legend;
pub use swatches::swatches;
