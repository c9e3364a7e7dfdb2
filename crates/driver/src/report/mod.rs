//! Results for people: charts, tables, pictures, and pages that open without a network.
//!
//! A run directory is enough to make its report: [`write_report`] reads its files into a [`RunSummary`] and renders
//! `figures/*.svg`, `tables/*` and `report.html`; [`Gallery`] keeps the examples to look at as PNGs in `figures/examples`.
//! [`compare`] does the same for several runs. What they render with is here too: [`chart`] (SVG), [`table`] (text,
//! Markdown, CSV, LaTeX, HTML), [`picture`] (PNG) and [`html`].

pub mod chart;
mod compare;
mod compare_page;
mod contact_sheet;
mod copies;
mod epsilons;
mod gallery;
pub mod html;
mod legend;
mod monitor;
pub mod picture;
mod protocol;
mod run;
mod run_page;
mod scores;
mod seeds;
pub mod table;
pub mod warnings;

pub use compare::{ComparedRun, Comparison, compare};
pub use contact_sheet::contact_sheet;
pub use gallery::{Gallery, GalleryExample};
pub use legend::legend;
pub use run::{RunSummary, write_report};

use robustseg_attacks::{Settings, title_of};
use robustseg_training::MethodConfig;

/// The title of a method or an attack in its paper, such as "random FGSM" for `random_fgsm`; `name` itself for an
/// unknown one.
pub fn paper_name(name: &str) -> &str {
    let method = MethodConfig::by_name(name).map(|method| method.title());
    method.or_else(|| title_of(name)).unwrap_or(name)
}

/// The title of a curve of an attack with its settings, such as "BIM, alpha 0.004, 10 steps".
pub fn curve_title(attack: &str, settings: &Settings) -> String {
    let title = paper_name(attack);
    if settings.is_empty() { title.to_owned() } else { format!("{title}, {settings}") }
}

/// A duration for people: "42.0 s", "12 min 5 s", "3 h 20 min".
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
pub(crate) mod fixture;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_the_papers() {
        assert_eq!(paper_name("random_fgsm"), "random FGSM");
        assert_eq!(paper_name("something_new"), "something_new");
        let title = |attack, settings| curve_title(attack, &serde_json::from_value(settings).unwrap());
        assert_eq!(title("bim", json!({"alpha": 0.004, "steps": 10})), "BIM, alpha 0.004, 10 steps");
        assert_eq!(title("fgsm", json!({})), "FGSM");
        assert_eq!(title("segpgd", json!({"start": "random"})), "SegPGD, random start");
    }

    #[test]
    fn durations_have_fitting_units() {
        assert_eq!(duration(3.24), "3.2 s");
        assert_eq!(duration(725.4), "12 min 5 s");
        assert_eq!(duration(59.7), "1 min 0 s");
        assert_eq!(duration(12_000.0), "3 h 20 min");
    }
}
