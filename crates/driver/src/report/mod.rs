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

use robustseg_attacks::Start;

/// The name that a method or an attack has in its paper, such as "random FGSM" for `random_fgsm`; `name` itself
/// where there is none.
pub fn paper_name(name: &str) -> &str {
    match name {
        "basic" => "Basic",
        "fgsm" => "FGSM",
        "random_fgsm" => "random FGSM",
        "bim" => "BIM",
        "fast_newton" => "Fast Newton",
        "pgd" => "PGD",
        "mi_fgsm" => "MI-FGSM",
        "rs_fgsm" => "RS-FGSM",
        "n_fgsm" => "N-FGSM",
        "fgsm_ckpt" => "FGSM-CKPT",
        "grad_align" => "GradAlign",
        "free" => "Free",
        "pgd_at" => "PGD-AT",
        "segpgd_at" => "SegPGD-AT",
        "ddc_at" => "DDC-AT",
        "pixel_newton" => "pixel-wise Newton",
        "segpgd" => "SegPGD",
        "cospgd" => "CosPGD",
        "apgd" => "APGD",
        "sea" => "SEA",
        "dag" => "DAG",
        _ => name,
    }
}

/// The title of a curve of an attack with its settings, such as "BIM, alpha 0.004, 10 steps".
pub fn curve_title(attack: &str, parameters: robustseg_training::Parameters) -> String {
    let mut title = paper_name(attack).to_owned();
    if let Some(alpha) = parameters.alpha {
        title += &format!(", alpha {alpha}");
    }
    if let Some(steps) = parameters.steps {
        title += &format!(", {steps} step{}", if steps == 1 { "" } else { "s" });
    }
    if let Some(restarts) = parameters.restarts {
        title += &format!(", {restarts} start{}", if restarts == 1 { "" } else { "s" });
    }
    match parameters.start {
        Some(Start::Random) => title += ", random start",
        Some(Start::Image) => title += ", from the image",
        None => {}
    }
    if let Some(decay) = parameters.decay {
        title += &format!(", decay {decay}");
    }
    title
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
    use robustseg_training::Parameters;

    #[test]
    fn names_are_the_papers() {
        assert_eq!(paper_name("random_fgsm"), "random FGSM");
        assert_eq!(paper_name("something_new"), "something_new");
        let parameters = Parameters { alpha: Some(0.004), steps: Some(10), ..Parameters::default() };
        assert_eq!(curve_title("bim", parameters), "BIM, alpha 0.004, 10 steps");
        let parameters = Parameters { restarts: Some(5), decay: Some(1.0), ..parameters };
        assert_eq!(curve_title("pgd", parameters), "PGD, alpha 0.004, 10 steps, 5 starts, decay 1");
        assert_eq!(curve_title("fgsm", Parameters::default()), "FGSM");
        let parameters = Parameters { start: Some(Start::Random), ..Parameters::default() };
        assert_eq!(curve_title("segpgd", parameters), "SegPGD, random start");
    }

    #[test]
    fn durations_have_fitting_units() {
        assert_eq!(duration(3.24), "3.2 s");
        assert_eq!(duration(725.4), "12 min 5 s");
        assert_eq!(duration(59.7), "1 min 0 s");
        assert_eq!(duration(12_000.0), "3 h 20 min");
    }
}
