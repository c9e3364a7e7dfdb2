//! `docs/records.md` names every field of every record, and no other.

use std::collections::{BTreeMap, BTreeSet};

use robustseg_attacks::{Cost, Settings};
use robustseg_evaluation::{
    CandidateScores, Curve, Evaluation, ImageRecord, METRICS, Passes, Point, Protocol, Scope, Scores,
    Smallest, SourceRecord, Warning, WarningKind, Window,
};
use robustseg_models::{ImportOrigin, TrainingOrigin};
use robustseg_training::{Event, Mark, Reading, Seconds, Sign, StepRecord, Timing};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::commands::attack::report::{ImageReport, Measures, Report, RoundedReport};
use crate::pages::{ComparisonRecord, Gallery, GalleryExample};
use crate::provenance::{
    CheckpointProvenance, DataProvenance, Invocation, PretrainedProvenance, Provenance, SplitProvenance,
};
use crate::records::samples::Recorded;
use crate::records::{LoggedEvent, Outcome, RunTiming, Submission};
use crate::sweep::{Changes, Series};

/// The heading of the table of files.
const FILES: &str = "Files of a run directory";

/// The heading of the table of a sweep's files.
const SWEEP_FILES: &str = "Files of a sweep's folder";

type Fields = BTreeMap<String, BTreeSet<String>>;

/// The names of fields in the tables of the page, by the heading above each table.
fn documented() -> Fields {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/records.md");
    let page = std::fs::read_to_string(path).expect("docs/records.md");
    let (mut found, mut heading) = (Fields::new(), String::new());
    for line in page.lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches(['#', ' ']).replace('`', "");
        } else if let Some(row) = line.strip_prefix("| `") {
            let cell = row.split(" | ").next().unwrap_or_default();
            let names = cell.split(',').map(|name| name.trim_matches([' ', '`']).to_owned());
            found.entry(heading.clone()).or_default().extend(names);
        }
    }
    found
}

/// The fields of `record`, which its own type reads again.
fn fields<T: Serialize + DeserializeOwned>(record: &T) -> BTreeSet<String> {
    let value = serde_json::to_value(record).unwrap();
    let again: T = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), value, "what is read again is the same");
    value.as_object().unwrap().keys().cloned().collect()
}

/// The fields that `record` has and `part` has not.
fn own<T: Serialize + DeserializeOwned, P: Serialize + DeserializeOwned>(
    record: &T,
    part: &P,
) -> BTreeSet<String> {
    fields(record).difference(&fields(part)).cloned().collect()
}

/// An event of every kind, each field present.
fn events() -> Vec<Event> {
    let (step, epoch, seconds, reason) = (1, 0, 0.5, String::from("x"));
    let mark = Mark { miou: 0.5, pixel_accuracy: 0.5 };
    let reading = Reading {
        chance: 0.1,
        clean: mark,
        fgsm: mark,
        bim: mark,
        loss_along: vec![0.5],
        cosine: Some(0.5),
        newton_epsilon: vec![0.5],
        linearity: Some(0.5),
        training_linearity: Some(0.5),
    };
    let record = StepRecord {
        step,
        loss: 0.5,
        penalty: Some(0.5),
        learning_rate: 0.5,
        images: 2,
        attacked: 1,
        epsilon_mean: Some(0.5),
        epsilons: vec![0.5],
        seconds: Seconds::default(),
    };
    let (sign, overfitting) = (Some(Sign::Gap), Some(Sign::Gap));
    let (sample, best) = ("x".into(), true);
    vec![
        Event::TrainingStarted { step, epoch, total_steps: 1, epochs: 1, parameters: 1 },
        Event::Step { epoch, record },
        Event::StepSkipped { step, epoch, reason: reason.clone() },
        Event::TrainingFailed { step, epoch, reason: reason.clone() },
        Event::SampleSkipped { step, epoch, sample, reason },
        Event::Validation {
            step,
            epoch,
            miou: 0.5,
            pixel_accuracy: 0.5,
            attacked_miou: Some(0.5),
            best,
            seconds,
        },
        Event::BestScored { step, epoch, miou: 0.5, samples: 1 },
        Event::Monitor { step, epoch, reading, sign, flagged: 1, patience: 1, overfitting, seconds },
        Event::TrainingStopped { step, epoch, sign: Sign::Gap, weights_of: 1 },
        Event::TrainingStoppedEarly { step, epoch, validations: 1, best_miou: 0.5 },
        Event::Checkpoint { step, epoch },
        Event::TrainingFinished { step, epoch, seconds: Seconds::default() },
        Event::TrainingInterrupted { step, epoch },
    ]
}

/// The kind of `event`. A new kind does not compile until it is added here and to [`events`].
fn kind(event: &Event) -> &'static str {
    match event {
        Event::TrainingStarted { .. } => "training_started",
        Event::Step { .. } => "step",
        Event::StepSkipped { .. } => "step_skipped",
        Event::TrainingFailed { .. } => "training_failed",
        Event::SampleSkipped { .. } => "sample_skipped",
        Event::Validation { .. } => "validation",
        Event::BestScored { .. } => "best_scored",
        Event::Monitor { .. } => "monitor",
        Event::TrainingStopped { .. } => "training_stopped",
        Event::TrainingStoppedEarly { .. } => "training_stopped_early",
        Event::Checkpoint { .. } => "checkpoint",
        Event::TrainingFinished { .. } => "training_finished",
        Event::TrainingInterrupted { .. } => "training_interrupted",
        Event::Unknown => "unknown",
    }
}

fn of_events(found: &mut Fields) {
    let logged = |event: Event| LoggedEvent { event, time_s: 0.5, wall_time: 0.5 };
    let shared = fields(&logged(Event::Checkpoint { step: 1, epoch: 0 }));
    for event in events() {
        let name = kind(&event);
        let all = fields(&logged(event));
        assert!(all.is_superset(&shared), "{name}: {all:?}");
        let own: BTreeSet<String> = all.difference(&shared).cloned().collect();
        if !own.is_empty() {
            found.insert(name.into(), own);
        }
    }
    found.insert("Every event".into(), shared);
    found.insert("Mark".into(), fields(&Mark { miou: 0.5, pixel_accuracy: 0.5 }));
    found.insert("Seconds".into(), fields(&Seconds::default()));
}

fn evaluation() -> Evaluation {
    let (attack, parameters) = (String::from("fgsm"), Settings::default());
    let metrics: serde_json::Value =
        METRICS.iter().map(|metric| (metric.key, serde_json::Value::from(0.5))).collect();
    let scores = Scores {
        miou: 0.5,
        pixel_accuracy: 0.5,
        iou: vec![Some(0.5)],
        metrics: serde_json::from_value(metrics).expect("registered metrics"),
        miou_interval: Some([0.25, 0.5]),
        pixel_accuracy_interval: Some([0.25, 0.5]),
    };
    let candidates = vec![CandidateScores { name: "x".into(), miou: 0.5, pixel_accuracy: 0.5 }];
    let smallest = Some(Smallest { wrong: 0.5, succeeded: 0.5, median: Some(0.5) });
    let points = vec![Point { epsilon: 0.5, scores: scores.clone(), candidates, smallest }];
    let curve = Curve {
        attack: attack.clone(),
        parameters: parameters.clone(),
        source: Some("x".into()),
        points: points.clone(),
        passes: Some(Passes { forward: 1.0, backward: 1.0 }),
    };
    let message = "x".into();
    let warning = Warning { kind: WarningKind::ZeroGradient, attack, parameters, epsilon: 0.5, message };
    Evaluation {
        clean: scores,
        curves: vec![curve],
        worst_case: points,
        warnings: vec![warning],
        checkpoint: Some("x".into()),
        sources: vec![source()],
        training: Some(training()),
        scope: Scope {
            split: Some("val".into()),
            protocol: Some(Protocol::WholeImage),
            window: Some(Window::CenterCrop { size: 1 }),
            images: Some(1),
            split_images: Some(1),
            classes: Some(vec!["x".into()]),
            object_edges: Some(vec![Some([1, 2])]),
            weights: Some("best".into()),
            selected_on_evaluated_split: true,
        },
    }
}

fn source() -> SourceRecord {
    SourceRecord { name: "x".into(), checkpoint: Some("x".into()), training: Some(training()) }
}

fn training() -> TrainingOrigin {
    TrainingOrigin { method: "basic".into(), seed: 0, step: 1, spec_sha256: "x".into() }
}

fn import() -> ImportOrigin {
    let left = vec!["x".into()];
    ImportOrigin { file: "x".into(), sha256: "x".into(), kind: "x".into(), taken: 1, left }
}

fn of_evaluation(found: &mut Fields) {
    let evaluation = evaluation();
    let (curve, scores) = (&evaluation.curves[0], &evaluation.clean);
    let point = &curve.points[0];
    found.insert("evaluation.json".into(), fields(&evaluation));
    found.insert("Scores".into(), fields(scores));
    found.insert("Curve".into(), fields(curve));
    found.insert("Passes".into(), fields(curve.passes.as_ref().unwrap()));
    found.insert("Point".into(), own(point, scores));
    found.insert("Candidate".into(), fields(&point.candidates[0]));
    found.insert("Smallest".into(), fields(point.smallest.as_ref().unwrap()));
    found.insert("Warning".into(), fields(&evaluation.warnings[0]));
    found.insert("Training".into(), fields(&training()));
    found.insert("Source".into(), fields(&source()));
    let image = ImageRecord {
        id: "x".into(),
        attack: Some("fgsm".into()),
        parameters: Settings::default(),
        source: Some("x".into()),
        epsilon: 0.5,
        candidate: Some("x".into()),
        loss: 0.5,
        largest_perturbation: 0.5,
        confusion: vec![(0, 0, 1)],
    };
    found.insert("Image".into(), fields(&image));
    let run = ComparisonRecord {
        name: "x".into(),
        method: "basic".into(),
        seed: Some(0),
        evaluation,
        step_seconds: Some(0.5),
        training_seconds: Some(0.5),
        additional_time_percent: Some(0.5),
    };
    found.insert("Run".into(), fields(&run));
}

fn of_run(found: &mut Fields) {
    let timing = RunTiming {
        peak_memory_bytes: Some(1),
        ..RunTiming::new("basic", "cpu".into(), Timing::default(), 0.5)
    };
    found.insert("timing.json".into(), fields(&timing));
    found.insert("Totals".into(), fields(&timing.training));
    let split = SplitProvenance {
        name: "val".into(),
        samples: 1,
        ids_sha256: "x".into(),
        content_sha256: "x".into(),
    };
    let provenance = Provenance {
        data: DataProvenance {
            cache: Some("x".into()),
            splits: vec![split.clone()],
            warnings: vec!["x".into()],
            ..DataProvenance::default()
        },
        pretrained: Some(PretrainedProvenance { source: "x".into(), sha256: "x".into() }),
        checkpoint: Some(CheckpointProvenance {
            path: "x".into(),
            sha256: "x".into(),
            training: Some(training()),
            import: Some(import()),
        }),
        invocations: vec![Invocation { changes: vec!["x".into()], ..Invocation::now("cpu") }],
        ..Provenance::default()
    };
    found.insert("provenance.json".into(), fields(&provenance));
    found.insert("Data".into(), fields(&provenance.data));
    found.insert("Split".into(), fields(&split));
    found.insert("Pretrained".into(), fields(provenance.pretrained.as_ref().unwrap()));
    found.insert("Checkpoint".into(), fields(provenance.checkpoint.as_ref().unwrap()));
    found.insert("Import".into(), fields(&import()));
    found.insert("Invocation".into(), fields(&provenance.invocations[0]));
    let sample = Recorded { split: "val".into(), id: "x".into(), image: "x".into(), label: "x".into() };
    found.insert("Sample".into(), fields(&sample));
    let class = robustseg_datasets::Class {
        name: "x".into(),
        colour: [0; 3],
        values: vec![1],
        label_colours: vec![[0; 3]],
    };
    let example = GalleryExample {
        id: "x".into(),
        number: "01".into(),
        perturbation_times: 1,
        pixel_accuracy: Some(0.5),
        landscape: vec![(0.5, 0.5)],
    };
    let gallery = Gallery {
        attack: "fgsm".into(),
        epsilon: 0.5,
        parameters: Settings::default(),
        classes: vec![class.clone()],
        examples: vec![example.clone()],
    };
    found.insert("figures/examples/gallery.json".into(), fields(&gallery));
    found.insert("Class".into(), fields(&class));
    found.insert("Example".into(), fields(&example));
}

fn of_sweep(found: &mut Fields) {
    let outcome = Outcome::now(Some(0), Some("x".into()));
    found.insert("sweep/outcomes/NAME.json".into(), fields(&outcome));
    let submission = Submission { job: "1".into(), runs: [(1, "x".into())].into() };
    found.insert("sweep/slurm/N.json".into(), fields(&submission));
}

fn of_attack(found: &mut Fields) {
    let measures = || Measures { loss: 0.5, mean_gain: 0.5, miou: Some(0.5), pixel_accuracy: Some(0.5) };
    let image =
        ImageReport { epsilon: 0.5, largest_perturbation: 0.5, before: measures(), after: measures() };
    let rounded = RoundedReport {
        largest_rounding: 0.5,
        largest_rounding_in_epsilons: Some(0.5),
        largest_perturbation: 0.5,
        after: measures(),
    };
    found.insert("Effect".into(), fields(&image));
    found.insert("Rounding".into(), fields(&rounded));
    found.insert("Measures".into(), fields(&measures()));
    let report = Report {
        source: Some("x".into()),
        method: "fgsm".into(),
        window: Window::Whole,
        protocol: Some(Protocol::WholeImage),
        seed: 0,
        passes: Cost::default(),
        images: vec![image],
        adversarial_png: Some(rounded),
    };
    found.insert("attack.json".into(), fields(&report));
}

#[test]
fn every_field_is_documented_and_every_documented_field_exists() {
    let mut found = Fields::new();
    of_events(&mut found);
    of_evaluation(&mut found);
    of_run(&mut found);
    of_attack(&mut found);
    of_sweep(&mut found);
    let mut documented = documented();
    documented.remove(FILES);
    documented.remove(SWEEP_FILES);
    for (heading, fields) in &found {
        assert_eq!(documented.get(heading), Some(fields), "{heading}");
    }
    let others: Vec<_> = documented.keys().filter(|heading| !found.contains_key(*heading)).collect();
    assert!(others.is_empty(), "no record has the tables {others:?}");
}

/// Whether `name` is one of `pattern`, in which a star stands for any part of a name.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|end| rest.is_char_boundary(end) && fits(after, &rest[end..]))
        }),
    }
}

fn files_below(folder: &std::path::Path, beginning: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = format!("{beginning}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            files_below(&entry.path(), &format!("{name}/"), found);
        } else {
            found.push(name);
        }
    }
}

#[test]
fn every_file_of_a_run_directory_is_documented() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    crate::pages::fixture::run(&path, "x", "fast_newton: {}", 0.7, 2.0);
    let mut log = crate::records::EventLog::open(&path.join("events.jsonl"), 200).unwrap();
    log.append(&Event::Checkpoint { step: 200, epoch: 8 }).unwrap();
    crate::pages::write_report(&crate::run_directory::RunDirectory::lock(&path).unwrap()).unwrap();
    let mut found = Vec::new();
    files_below(&path, "", &mut found);
    let patterns = documented().remove(FILES).unwrap();
    for name in &found {
        assert!(patterns.iter().any(|pattern| fits(pattern, name)), "{name} is not documented");
    }
    // What training writes is not here; all other patterns are of files that are.
    let others = [
        "checkpoints/",
        "run.log",
        "samples.jsonl",
        "tables/",
        "figures/",
        ".robustseg",
        ".lock",
        "unfinished",
    ];
    for pattern in patterns.iter().filter(|pattern| !others.iter().any(|other| pattern.starts_with(other))) {
        assert!(found.iter().any(|name| fits(pattern, name)), "{pattern} does not exist");
    }
}

#[test]
fn every_file_of_a_sweep_is_documented() {
    let folder = tempfile::tempdir().unwrap();
    let text = "name: x\ndata: {manifest: m.yaml}\ntraining: {method: basic, epochs: 1}\n";
    let spec = crate::spec::Spec::parse(text, &[]).unwrap();
    let member = crate::spec::Member { name: "a".into(), values: Vec::new(), spec };
    let series = Series { name: "x".into(), path: folder.path().join("x"), members: vec![member] };
    drop(series.freeze(Changes::Refused).unwrap());
    Outcome::now(None, None).write(&series.outcome("a")).unwrap();
    let mut found =
        vec!["sweep/logs/a.log".to_owned(), "sweep/slurm/1.sh".into(), "sweep/slurm/1.json".into()];
    files_below(&series.path, "", &mut found);
    let patterns = documented().remove(SWEEP_FILES).unwrap();
    for name in &found {
        assert!(patterns.iter().any(|pattern| fits(pattern, name)), "{name} is not documented");
    }
    for pattern in patterns.iter().filter(|pattern| !pattern.contains(".owner")) {
        assert!(found.iter().any(|name| fits(pattern, name)), "{pattern} does not exist");
    }
}
