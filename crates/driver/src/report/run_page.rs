//! The page of one run: `report.html`.

use robustseg_evaluation::Scope;
use robustseg_training::{Seconds, Timing};
use robustseg_words::counted;

use super::html::{self, Page, escape};
use super::monitor;
use super::picture::ERRORS;
use super::table::{Cell, Table};
use super::warnings::{SELECTED, by_attack};
use super::{Gallery, RunSummary, curve_title, duration, paper_name, scores};
use crate::checkpoint::training_in_words;
use crate::provenance::Provenance;
use crate::run_timing::RunTiming;

/// The pictures of an example, in pairs that stand above each other.
const PICTURES: [(&str, &str); 6] = [
    ("image", "image"),
    ("adversarial", "adversarial image"),
    ("prediction", "prediction"),
    ("adversarial_prediction", "prediction on the adversarial image"),
    ("label", "label"),
    ("error", "errors"),
];

/// How to read the loss along the attack's direction.
const LANDSCAPE: &str = "<p class=\"note\">0 is the image, 1 the adversarial one. An honest attack climbs all the way; a loss \
                         that bends down before 1 tells of masked gradients, as after catastrophic overfitting.</p>\n";

/// The page of `run`, whose charts (names and SVG) are drawn already.
pub(super) fn render(run: &RunSummary, charts: &[(&str, String)]) -> anyhow::Result<String> {
    let chart = |wanted: &str, description: &str| {
        let found = charts.iter().find(|(name, _)| *name == wanted);
        found.map_or(String::new(), |(_, svg)| html::chart(svg, description))
    };
    let mut page = Page::new(&run.name(), &lead(run));
    page.section("Summary", &facts(run));
    page.section("Warnings", &warnings(run));
    let tables = scores::tables(run);
    let table = |wanted: &str| tables.iter().find(|(name, _)| *name == wanted).map(|(_, table)| table.html());
    let robustness = chart(
        "robustness",
        "Mean IoU over epsilon, a line for each attack and a bold one for the worst case over all",
    );
    let of_attacks = ["scores", "worst_case_over", "passes"].map(|name| table(name).unwrap_or_default());
    page.section("Robustness", &(robustness + &of_attacks.concat()));
    if let Some(gallery) = &run.gallery {
        let landscape =
            chart("landscape", "Cross-entropy along the attack's direction, a line for each example");
        let note = if landscape.is_empty() { "" } else { LANDSCAPE };
        page.section("Examples", &(examples(run, gallery)? + &landscape + note));
    }
    page.section("Classes", &table("classes").unwrap_or_default());
    let curves = chart("loss", "Training loss over steps")
        + &chart("validation", "Clean mean IoU on validation samples over steps")
        + &chart(
            "epsilons",
            "Shares of the adversarial examples by epsilon, a line for each part of the training",
        );
    if !curves.is_empty() {
        page.section("Training", &format!("<div class=\"charts\">\n{curves}</div>\n"));
    }
    page.section("Catastrophic overfitting", &monitor::section(run, charts));
    if let Some(timing) = &run.timing {
        page.section("Time", &time(timing));
    }
    if let Some(spec) = &run.spec {
        page.section("Resolved spec", &html::folded("every setting, defaults filled in", &spec.to_yaml()?));
    }
    if let Some(provenance) = &run.provenance {
        page.section("Provenance", &origin(provenance, &run.evaluation.scope).html());
    }
    Ok(page.finish())
}

fn lead(run: &RunSummary) -> String {
    let Scope { split, images, split_images, .. } = &run.evaluation.scope;
    let images = match (images, split_images) {
        (Some(images), Some(all)) => format!("{images} of {all} images of "),
        _ => String::new(),
    };
    let Some(spec) = &run.spec else {
        return "Evaluation of a checkpoint".into();
    };
    let manifest = spec.data.manifest.file_stem().unwrap_or_default().to_string_lossy();
    let method = run.method().map_or("an unknown method", paper_name);
    let split = split.as_deref().unwrap_or_else(|| spec.evaluation_split());
    if let Some(checkpoint) = run.provenance.as_ref().and_then(|provenance| provenance.checkpoint.as_ref()) {
        return format!("{} evaluated on {images}split {split} of {manifest}", checkpoint.path);
    }
    format!("PSPNet trained with {method} on {manifest}, evaluated on {images}split {split}")
}

fn facts(run: &RunSummary) -> String {
    let clean = &run.evaluation.clean;
    let mut facts = Vec::new();
    facts.push(("method", run.method().map_or("unknown", paper_name).to_owned()));
    let training = run.evaluation.training.as_ref();
    let number = |value: Option<u64>| value.map_or("unknown".into(), |value| value.to_string());
    facts.push(("seed", number(training.map(|training| training.seed))));
    facts.push(("step of the weights", number(training.map(|training| training.step))));
    let Scope { split, images, split_images, weights, .. } = &run.evaluation.scope;
    if let Some(images) = images {
        let all = split_images.map_or(String::new(), |all| format!(" of {all}"));
        let split = split.as_ref().map_or(String::new(), |split| format!(" of split {split}"));
        facts.push(("images", format!("{images}{all}{split}")));
    }
    facts.extend(weights.clone().map(|weights| ("weights", weights)));
    facts.push(("clean mean IoU", format!("{:.4}", clean.miou)));
    facts.push(("clean pixel accuracy", format!("{:.4}", clean.pixel_accuracy)));
    let points =
        run.evaluation.curves.iter().flat_map(|curve| &curve.points).chain(&run.evaluation.worst_case);
    let worst = points.map(|point| point.scores.miou).reduce(f64::min);
    facts.extend(worst.map(|miou| ("least mean IoU attacked", format!("{miou:.4}"))));
    let selected = usize::from(run.evaluation.scope.selected_on_evaluated_split);
    let warned = run.evaluation.warnings.len() + of_data(run).len() + selected;
    facts.extend((warned > 0).then(|| ("warnings", warned.to_string())));
    if let Some(timing) = &run.timing {
        facts.push(("training", duration(timing.training_seconds)));
        facts.push(("a training step", format!("{:.3} s", timing.step_seconds)));
        facts.push(("evaluation", duration(timing.evaluation_seconds)));
        facts.push(("device", timing.device.clone()));
        let memory = timing.peak_memory_bytes;
        facts.extend(
            memory.map(|bytes| ("peak memory", format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30)))),
        );
    }
    html::facts(facts)
}

/// What speaks against the data.
fn of_data(run: &RunSummary) -> &[String] {
    run.provenance.as_ref().map_or(&[], |provenance| &provenance.data.warnings)
}

/// What speaks against the numbers: in the data, and a line for each attack and kind.
fn warnings(run: &RunSummary) -> String {
    let data = of_data(run).iter().map(|warning| ("data".to_owned(), warning.clone()));
    let selected = run.evaluation.scope.selected_on_evaluated_split;
    let selected = selected.then(|| ("weights".to_owned(), SELECTED.to_owned()));
    let lines = data.chain(selected).chain(by_attack(&run.evaluation.warnings));
    let item = |(place, message): (String, String)| {
        format!("<li><strong>{}</strong>: {}</li>\n", escape(&place), escape(&message))
    };
    let items: String = lines.map(item).collect();
    if items.is_empty() { items } else { format!("<ul class=\"warnings\">\n{items}</ul>\n") }
}

fn examples(run: &RunSummary, gallery: &Gallery) -> anyhow::Result<String> {
    let mut content = String::new();
    for example in &gallery.examples {
        let accuracy = example.pixel_accuracy.map_or(String::new(), |share| {
            format!(", {:.1} % of the pixels right under the attack", 100.0 * share)
        });
        content += &format!("<h3>{}{accuracy}</h3>\n<div class=\"example\">\n", escape(&example.id));
        for (name, caption) in PICTURES {
            content += &html::picture(&example.png(&run.path, name)?, caption);
        }
        let caption = format!("perturbation, {} times", example.perturbation_times);
        content += &html::picture(&example.png(&run.path, "perturbation")?, &caption);
        content += "</div>\n";
    }
    if content.is_empty() {
        return Ok(content);
    }
    content += "<ul class=\"classes\">\n";
    for class in &gallery.classes {
        let [r, g, b] = class.colour;
        let name = escape(&class.name);
        content += &format!("<li><span style=\"background:rgb({r},{g},{b})\"></span>{name}</li>\n");
    }
    content +=
        "<li><span style=\"background:#fff\"></span>not labelled</li>\n</ul>\n<ul class=\"classes\">\n";
    for (name, [r, g, b]) in ERRORS {
        content += &format!("<li><span style=\"background:rgb({r},{g},{b})\"></span>{name}</li>\n");
    }
    content += "</ul>\n";
    let attack = curve_title(&gallery.attack, &gallery.parameters);
    let note = format!(
        "The images of which {attack}, at epsilon {}, leaves the fewest pixels right.",
        gallery.epsilon
    );
    Ok(content + &format!("<p class=\"note\">{}</p>\n", escape(&note)))
}

/// Where the training time went, as a bar and a table.
fn time(timing: &RunTiming) -> String {
    let Timing { steps, images, attacked, seconds, validation_seconds } = &timing.training;
    let Seconds { data, attack, forward, backward, optimiser } = *seconds;
    let parts = [
        ("data", "waiting for data", data),
        ("attack", "crafting adversarial examples", attack),
        ("forward", "forward pass", forward),
        ("backward", "backward pass", backward),
        ("optimiser", "optimiser", optimiser),
    ];
    let total = seconds.total().max(f64::MIN_POSITIVE);
    let (mut bar, mut legend) = (String::new(), String::new());
    let mut table = Table::new("", ["part of a training step", "seconds", "seconds a step", "share"]);
    for (name, text, value) in parts {
        let share = value / total;
        bar += &format!("<i style=\"flex:{share:.5};background:var(--{name})\"></i>");
        legend += &format!(
            "<span><i style=\"background:var(--{name})\"></i>{name} {:.1} %</span>\n",
            100.0 * share
        );
        let a_step = value / (*steps).max(1) as f64;
        let numbers = [Cell::Number(value, 1), Cell::Number(a_step, 4), Cell::Percent(100.0 * share)];
        table.rows.push(std::iter::once(Cell::text(text)).chain(numbers).collect());
    }
    table.note = format!(
        "{}, {} ({:.1} each second), {attacked} of them attacked; {} of validation beside that. Device: {}.",
        counted(*steps, "step"),
        counted(*images, "image"),
        timing.images_per_second,
        duration(*validation_seconds),
        timing.device
    );
    format!("<div class=\"split\">{bar}</div>\n<p class=\"legend\">{legend}</p>\n{}", table.html())
}

fn origin(provenance: &Provenance, scope: &Scope) -> Table {
    let Provenance { fingerprint, seed, data, invocations, .. } = provenance;
    let mut table = Table::new("", ["what", "value"]);
    let mut row = |what: &str, value: String| table.rows.push(vec![Cell::text(what), Cell::Text(value)]);
    for invocation in invocations {
        row("started", utc(invocation.time));
        row("command", invocation.command.join(" "));
        row("commit", invocation.commit.clone());
        row("versions", format!("robustseg {}, candle {}", invocation.robustseg, invocation.candle));
        row("machine", format!("{}, {}", invocation.platform, invocation.device));
        row("threads on the CPU", invocation.threads.to_string());
        row("changed before it", invocation.changes.join("; "));
    }
    // That of an evaluation is the spec's, which trained nothing.
    row("seed", if provenance.checkpoint.is_none() { seed.to_string() } else { String::new() });
    row("fingerprint of the run", fingerprint.clone());
    row("manifest", format!("{}, SHA-256 {}", data.manifest, data.manifest_sha256));
    row("data", data.root.clone());
    if let Some(cache) = &data.cache {
        row("decoded samples from", cache.clone());
    }
    if let Some(checkpoint) = &provenance.checkpoint {
        row("checkpoint", format!("{}, SHA-256 {}", checkpoint.path, checkpoint.sha256));
        row("trained by", training_in_words(checkpoint.training.as_ref()));
    }
    row("decoder", data.decoder.clone());
    for split in &data.splits {
        let images = scope.images.filter(|_| scope.split.as_ref() == Some(&split.name));
        let evaluated = images.map_or(String::new(), |images| format!(", {images} of them evaluated"));
        row(
            "split",
            format!(
                "{}: {}{evaluated}, SHA-256 of the ids {}, of the content {}",
                split.name,
                counted(split.samples, "sample"),
                split.ids_sha256,
                split.content_sha256
            ),
        );
    }
    table.rows.retain(|row| row[1] != Cell::text(""));
    table
}

/// Seconds since 1970 as date and time of day (the civil calendar from days, counted in eras of 400 years).
fn utc(seconds: u64) -> String {
    let days = seconds / 86400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3600 % 24, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(utc(1_798_761_600), "2027-01-01 00:00 UTC");
    }
}
