//! The report's section about catastrophic overfitting: the readings of the monitor.

use robustseg_training::{MonitorConfig, Reading, Sign};
use robustseg_words::counted;

use crate::draw::chart::{Chart, Line};
use crate::draw::html;
use crate::draw::table::{Cell, Table};
use crate::pages::summary::RunSummary;
use crate::records::MonitorRecord;

/// The most readings whose losses along FGSM's step are drawn.
const LANDSCAPES: usize = 5;

/// The charts of `records`, by the names of their files in `figures`. Without records there are no
/// charts.
pub(super) fn charts(records: &[MonitorRecord]) -> Vec<(&'static str, Chart)> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Vec::new() };
    let over_steps = |label: &str, value: &dyn Fn(&Reading) -> Option<f64>| {
        let values = records.iter().filter_map(|record| Some((record.step, value(&record.reading)?)));
        Line::over_steps(label, &values.collect::<Vec<_>>())
    };
    let chart = |title: &str, y, lines| Chart::new(title, "step", y, lines);
    let robustness = vec![
        over_steps("clean", &|reading| Some(reading.clean.miou)),
        over_steps("FGSM", &|reading| Some(reading.fgsm.miou)),
        over_steps("BIM", &|reading| Some(reading.bim.miou)),
    ];
    let epsilons = vec![
        over_steps("largest", &|reading| reading.newton_epsilon.last().copied()),
        over_steps("median", &|reading| {
            reading.newton_epsilon.get(reading.newton_epsilon.len() / 2).copied()
        }),
        over_steps("smallest", &|reading| reading.newton_epsilon.first().copied()),
    ];
    let landscape = |record: &MonitorRecord| {
        let losses = &record.reading.loss_along;
        let parts = (losses.len() - 1).max(1) as f64;
        let points = losses.iter().enumerate().map(|(part, loss)| (part as f64 / parts, *loss)).collect();
        Line { markers: true, ..Line::through(format!("step {}", record.step), points) }
    };
    let apart = (records.len() - 1).div_ceil(LANDSCAPES - 1).max(1);
    let drawn = records.iter().rev().step_by(apart).collect::<Vec<_>>();
    let mut charts = vec![
        ("monitor_robustness", chart("Mean IoU on the monitor's samples", "mean IoU", robustness)),
        (
            "monitor_loss",
            Chart::new(
                "Loss along FGSM's step",
                "part of the step",
                "cross-entropy",
                drawn.into_iter().rev().map(landscape).collect(),
            ),
        ),
        ("monitor_epsilon", chart("Fast Newton's epsilon", "epsilon", epsilons)),
    ];
    if first.reading.cosine.is_some() || last.reading.cosine.is_some() {
        let cosine = vec![over_steps("cosine", &|reading| reading.cosine)];
        charts.push(("monitor_cosine", chart("Cosine of gradients at random neighbours", "cosine", cosine)));
    }
    if last.reading.linearity.is_some() {
        let mut lines = vec![over_steps("along FGSM", &|reading| reading.linearity)];
        if last.reading.training_linearity.is_some() {
            lines.push(over_steps("in training", &|reading| reading.training_linearity));
        }
        charts.push(("monitor_linearity", chart("Linearity of the loss", "linearity", lines)));
    }
    charts
}

/// The section with the drawn `charts`. Empty if the run had no monitor.
pub(super) fn section(run: &RunSummary, charts: &[(&str, Chart)]) -> String {
    let records = &run.history.readings;
    let Some(last) = records.last() else { return String::new() };
    let flagged: Vec<&MonitorRecord> = records.iter().filter(|record| record.any_sign().is_some()).collect();
    let all = records.len();
    let verdict = match (flagged.last(), records.iter().find(|record| record.overfitting.is_some())) {
        (None, _) => format!("no sign in {}", counted(all, "reading")),
        (Some(last), None) => format!("sign {} at step {}, and no more", last.number(), last.step),
        (Some(_), Some(first)) => {
            let signs = flagged.len();
            let all = counted(all, "reading");
            format!("catastrophic overfitting, a sign in {signs} of {all}, from step {}", first.step)
        }
    };
    let mut content = html::facts([
        ("verdict of the monitor", verdict),
        ("FGSM at the end", format!("{:.4}", last.reading.fgsm.miou)),
        ("BIM at the end", format!("{:.4}", last.reading.bim.miou)),
    ]);
    content += "<div class=\"charts\">\n";
    for name in
        ["monitor_robustness", "monitor_loss", "monitor_cosine", "monitor_linearity", "monitor_epsilon"]
    {
        if let Some((_, chart)) = charts.iter().find(|(known, _)| *known == name) {
            content += &html::chart(chart);
        }
    }
    content += "</div>\n";
    if !flagged.is_empty() {
        let columns = ["step", "sign", "in a row", "clean", "FGSM", "BIM"];
        let mut table = Table::new("Readings with a sign", columns);
        table.rows.extend(flagged.iter().map(|record| {
            let sign = match record.any_sign() {
                Some(Sign::Gap) => "gap",
                Some(Sign::Distortion) => "distortion",
                Some(Sign::Drop) => "drop",
                None => "",
            };
            let marks = [record.reading.clean, record.reading.fgsm, record.reading.bim];
            let step = [record.step.to_string(), sign.to_owned(), record.number()].map(Cell::Text);
            step.into_iter().chain(marks.map(|mark| Cell::Fraction(mark.miou))).collect()
        }));
        content += &table.html();
    }
    let config = run.spec.as_ref().and_then(|spec| spec.training.monitor);
    let criterion = config.map_or(String::new(), |config| criterion(&config));
    content + &format!("<p class=\"note\">{}{}</p>\n", html::escape(&criterion), html::escape(&cost(run)))
}

/// The samples and attacks of the readings, and the criteria of the signs.
fn criterion(config: &MonitorConfig) -> String {
    let MonitorConfig { samples, epsilon, alpha, steps, gap, distortion, drop, chance, patience, .. } =
        config;
    format!(
        "Read on {samples} centre crops of training samples, with FGSM and BIM ({steps} steps of {alpha}) at epsilon \
         {epsilon}. The sign gap: at least {gap} of the clean mean IoU is kept under FGSM, but less than {gap} of that \
         under BIM. The sign distortion: at the end of FGSM's step the loss has lost at least {distortion} of its largest \
         rise, or never rose. The sign drop: pixel accuracy under BIM is more than {drop} below that of the last reading without \
         a sign. No sign counts while the clean mean IoU is below {chance} times what guessing scores. {patience} in a row \
         are catastrophic overfitting. "
    )
}

fn cost(run: &RunSummary) -> String {
    let seconds: f64 = run.history.readings.iter().map(|record| record.seconds).sum();
    let share = run.timing.as_ref().map(|timing| 100.0 * seconds / timing.training.seconds.total());
    let share = share.map_or(String::new(), |share| format!(", {share:.1} % of the training's time"));
    format!("{} took {seconds:.1} s{share}.", counted(run.history.readings.len(), "reading"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::exit::BadData;
    use crate::pages::{fixture, write_report};
    use crate::records::{History, LoggedEvent, read_events};
    use crate::run_directory::RunDirectory;
    use robustseg_training::{Event, Mark};

    fn record(step: u64, bim: f64, overfitting: Option<Sign>) -> MonitorRecord {
        let mark = |miou| Mark { miou, pixel_accuracy: miou };
        let (clean, fgsm, bim) = (mark(0.6), mark(0.5), mark(bim));
        let (loss_along, newton_epsilon) = (vec![0.4, 0.9, 0.7], vec![-0.01, 0.02, 0.05]);
        let reading = Reading {
            chance: 0.1,
            clean,
            fgsm,
            bim,
            loss_along,
            cosine: Some(0.2),
            newton_epsilon,
            linearity: Some(0.9),
            training_linearity: Some(0.95),
        };
        let (sign, flagged) = (overfitting, usize::from(overfitting.is_some()));
        MonitorRecord { step, reading, sign, flagged, patience: 1, overfitting, seconds: 1.5 }
    }

    fn event(record: &MonitorRecord) -> String {
        let MonitorRecord { step, reading, sign, flagged, patience, overfitting, seconds } = record.clone();
        let event = Event::Monitor { step, epoch: 0, reading, sign, flagged, patience, overfitting, seconds };
        serde_json::to_string(&LoggedEvent { event, time_s: 0.0, wall_time: 0.0 }).unwrap() + "\n"
    }

    fn readings(path: &Path) -> Result<Vec<MonitorRecord>, BadData> {
        Ok(History::of(read_events(path)?).readings)
    }

    #[test]
    fn a_run_with_a_monitor_has_a_section_with_its_curves_and_its_verdict() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        fixture::run(&path, "watched", "fgsm: {epsilon: 0.03}", 0.7, 2.0);
        let page = || {
            let report = write_report(&RunDirectory::lock(&path).unwrap()).unwrap();
            std::fs::read_to_string(report).unwrap()
        };
        assert!(!page().contains("Catastrophic overfitting"));
        let log = path.join("events.jsonl");
        let before = std::fs::read_to_string(&log).unwrap();
        let records =
            [record(50, 0.4, None), record(100, 0.1, Some(Sign::Gap)), record(150, 0.0, Some(Sign::Drop))];
        std::fs::write(&log, before.clone() + &records.iter().map(event).collect::<String>()).unwrap();
        assert_eq!(readings(&log).unwrap(), records);
        let page = page();
        for part in [
            "Catastrophic overfitting",
            "2 of 3 readings, from step 100",
            "Loss along FGSM",
            "Cosine of gradients at random neighbours",
            "3 readings took 4.5 s, 1.1 %",
            "drop",
        ] {
            assert!(page.contains(part), "{part} is missing");
        }
        for figure in ["robustness", "loss", "cosine", "linearity", "epsilon"] {
            assert!(path.join(format!("figures/monitor_{figure}.svg")).is_file(), "{figure}");
        }
        std::fs::write(&log, before + "{\"kind\": \"monitor\", \"step\": 3}\n").unwrap();
        let error = readings(&log).unwrap_err().to_string();
        assert!(error.contains("line 210 is not an event"), "{error}");
    }

    #[test]
    fn a_sign_that_may_pass_is_not_called_overfitting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        fixture::run(&path, "watched", "fgsm: {epsilon: 0.03}", 0.7, 2.0);
        let sign =
            MonitorRecord { sign: Some(Sign::Drop), flagged: 1, patience: 2, ..record(100, 0.1, None) };
        let mut log = std::fs::read_to_string(path.join("events.jsonl")).unwrap();
        log += &[record(50, 0.4, None), sign, record(150, 0.4, None)].iter().map(event).collect::<String>();
        std::fs::write(path.join("events.jsonl"), &log).unwrap();
        let page = |path: &Path| section(&RunSummary::read(path).unwrap(), &[]);
        let found = page(&path);
        assert!(found.contains("sign 1 of 2 at step 100, and no more"), "{found}");
        assert!(!found.contains("catastrophic overfitting, a sign"), "{found}");
        // Older versions wrote the sign under another name.
        let former = log.replace("\"overfitting\":null", "\"overfitting\":\"gap\"");
        let former = former.replace("\"sign\":null,", "").replace("\"flagged\":0,\"patience\":1,", "");
        std::fs::write(path.join("events.jsonl"), former).unwrap();
        assert!(page(&path).contains("a sign in 3 of 3 readings, from step 50"));
    }

    #[test]
    fn at_most_five_landscapes_are_drawn_the_last_among_them() {
        for count in 1..30 {
            let records: Vec<_> = (1..=count).map(|step| record(step, 0.4, None)).collect();
            let charts = charts(&records);
            let (_, loss) = charts.iter().find(|(name, _)| *name == "monitor_loss").unwrap();
            assert!((1..=5).contains(&loss.lines.len()), "{count}: {}", loss.lines.len());
            assert_eq!(loss.lines.last().unwrap().label, format!("step {count}"));
        }
        assert!(charts(&[]).is_empty());
    }
}
