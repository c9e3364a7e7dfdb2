//! The report's section about the time of training steps.

use robustseg_training::{Seconds, Timing};
use robustseg_words::counted;

use super::machine;
use crate::draw::table::{Cell, Table};
use crate::draw::time::duration;
use crate::records::RunTiming;

/// The parts of the training time as a bar and a table.
pub(super) fn section(timing: &RunTiming) -> String {
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
    let mut table = Table::new("", ["part of a training step", "seconds", "seconds per step", "share"]);
    for (name, text, value) in parts {
        let share = value / total;
        bar += &format!("<i style=\"flex:{share:.5};background:var(--{name})\"></i>");
        legend += &format!(
            "<span><i style=\"background:var(--{name})\"></i>{name} {:.1} %</span>\n",
            100.0 * share
        );
        let per_step = value / (*steps).max(1) as f64;
        let numbers = [Cell::Number(value, 1), Cell::Number(per_step, 4), Cell::Percent(100.0 * share)];
        table.rows.push(std::iter::once(Cell::text(text)).chain(numbers).collect());
    }
    table.note = format!(
        "{}, {} ({:.1} per second), {attacked} of them attacked; {} of validation in addition.",
        counted(*steps, "step"),
        counted(*images, "image"),
        timing.images_per_second,
        duration(*validation_seconds)
    );
    let facts = machine::facts(timing);
    format!("{facts}<div class=\"split\">{bar}</div>\n<p class=\"legend\">{legend}</p>\n{}", table.html())
}
