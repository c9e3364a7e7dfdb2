//! Made-up runs for the tests of this module.

use std::path::Path;

use robustseg_attacks::{Bim, Settings};
use robustseg_datasets::Class;
use robustseg_evaluation::{
    Curve, Evaluated, Evaluation, Example, ExampleAttack, ImageRecord, Point, Scope, Scores,
};
use robustseg_models::TrainingOrigin;
use robustseg_training::{Event, Seconds, StepRecord, Timing};

use super::gallery::Gallery;
use crate::provenance::{Invocation, Provenance, SplitProvenance};
use crate::records::{LoggedEvent, RunTiming};
use crate::run_directory::RunDirectory;
use crate::spec::Spec;

/// Scores of `miou` at epsilon 0, that fall as exp(-`fall` * 10 * epsilon) under FGSM, and twice as
/// fast under BIM. Three classes.
pub fn evaluation(miou: f64, fall: f64) -> Evaluation {
    evaluation_of(miou, fall, &classes())
}

/// The same for `classes`, of which the third does not occur.
pub fn evaluation_of(miou: f64, fall: f64, classes: &[Class]) -> Evaluation {
    let iou = |label: usize, factor: f64| {
        let spread = 0.1 - 0.2 * (label % 2) as f64 + 0.02 * (label % 5) as f64;
        (label != 2).then_some(((miou + spread) * factor).max(0.0))
    };
    let scores = |factor: f64| Scores {
        miou: miou * factor,
        pixel_accuracy: (miou + 0.2) * factor,
        iou: (0..classes.len()).map(|label| iou(label, factor)).collect(),
        miou_interval: Some([0.9 * miou * factor, 1.1 * miou * factor]),
        ..Scores::default()
    };
    let curve = |attack: &str, parameters, fall: f64| Curve {
        attack: attack.into(),
        parameters,
        source: None,
        points: (0..9)
            .map(|point| f64::from(point) / 200.0)
            .map(|epsilon| {
                let scores = scores((-fall * 10.0 * epsilon).exp());
                Point { epsilon, scores, candidates: Vec::new(), smallest: None }
            })
            .collect(),
        passes: None,
    };
    let bim = Settings::of(&Bim { alpha: 0.004, steps: 10 });
    let curves = vec![curve("fgsm", Settings::default(), fall), curve("bim", bim, 2.0 * fall)];
    let scope = Scope {
        split: Some("val".into()),
        images: Some(24),
        split_images: Some(100),
        classes: Some(classes.iter().map(|class| class.name.clone()).collect()),
        weights: Some("last".into()),
        ..Scope::default()
    };
    Evaluation {
        clean: scores(1.0),
        curves,
        worst_case: Vec::new(),
        warnings: Vec::new(),
        checkpoint: None,
        sources: Vec::new(),
        training: None,
        scope,
    }
}

/// Three classes. The name of one must be escaped in markup.
pub fn classes() -> Vec<Class> {
    many_classes(3)
}

/// `count` classes, three of them as in [`classes`].
pub fn many_classes(count: usize) -> Vec<Class> {
    let class = |name: &str, colour| Class {
        name: name.into(),
        colour,
        values: Vec::new(),
        label_colours: Vec::new(),
    };
    let mut classes =
        vec![class("sky", [70, 130, 180]), class("<road>", [128, 64, 128]), class("tree", [107, 142, 35])];
    let more = (classes.len()..count).map(|label| {
        let shade = |factor: usize| (label * factor % 226) as u8;
        class(&format!("a class named {label}"), [shade(97), shade(57), shade(151)])
    });
    classes.extend(more);
    classes
}

/// The images of `evaluation`, clean and at the largest epsilon of each curve: two, whose pixels of
/// each class are right as often as its IoU says.
pub fn images(evaluation: &Evaluation) -> Vec<ImageRecord> {
    let classes = evaluation.clean.iou.len() as u8;
    let confusion = |scores: &Scores| {
        let row = |label: u8| {
            let right = (1000.0 * scores.iou[usize::from(label)]?) as u64;
            let other = (label + 1 + label % 3) % classes;
            Some([(label, label, right), (label, other, 1000_u64.saturating_sub(right))])
        };
        (0..classes).filter_map(row).flatten().filter(|(_, _, count)| *count > 0).collect::<Vec<_>>()
    };
    let image = |id: &str, curve: Option<(&Curve, &Point)>| ImageRecord {
        id: id.into(),
        attack: curve.map(|(curve, _)| curve.attack.clone()),
        parameters: curve.map_or_else(Settings::default, |(curve, _)| curve.parameters.clone()),
        source: None,
        epsilon: curve.map_or(0.0, |(_, point)| point.epsilon),
        candidate: None,
        loss: 0.5,
        largest_perturbation: 0.0,
        confusion: confusion(curve.map_or(&evaluation.clean, |(_, point)| &point.scores)),
    };
    let points = || evaluation.curves.iter().filter_map(|curve| Some((curve, curve.points.last()?)));
    let all = |id: &'static str| {
        std::iter::once(image(id, None)).chain(points().map(move |point| image(id, Some(point))))
    };
    all("scene 1").chain(all("scene 2")).collect()
}

/// An example of `width` x `height` pixels.
pub fn example(id: &str, width: usize, height: usize) -> Example {
    let pixels = || (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)));
    let wave = |x: usize, y: usize| ((x as f64 / 9.0).sin() * 6.0) as usize + y;
    let label = |(x, y)| match wave(x, y) {
        row if row < height / 2 => 0,
        row if row < height / 2 + 3 => 255,
        row if row < height * 3 / 4 => 2,
        _ => 1,
    };
    let colours: Vec<[u8; 3]> = classes().iter().map(|class| class.colour).collect();
    let texture = |(x, y): (usize, usize)| ((x * 31 + y * 17) % 23) as u8;
    let shade =
        |p| colours.get(usize::from(label(p))).unwrap_or(&[90, 90, 90]).map(|value| value - 20 + texture(p));
    let noise = |(x, y): (usize, usize)| if (x / 3 + y / 3) % 2 == 0 { 8_u8 } else { 0 };
    let fooled = |(x, y)| if (x / 11 + y / 7) % 3 == 0 { 2 } else { label((x, y)) % 3 };
    Example {
        id: id.into(),
        width,
        height,
        image: pixels().flat_map(shade).collect(),
        label: pixels().map(label).collect(),
        prediction: pixels().map(|p| label(p) % 3).collect(),
        adversarial: pixels().flat_map(|p| shade(p).map(|value| value + noise(p))).collect(),
        adversarial_prediction: pixels().map(fooled).collect(),
        pixel_accuracy: 0.25,
        landscape: (-4_i8..=12)
            .map(|eighths| (f64::from(eighths) / 8.0, 1.0 + 0.1 * f32::from(eighths)))
            .collect(),
    }
}

/// An evaluation with `examples`.
pub fn evaluated(examples: Vec<Example>) -> Evaluated {
    let evaluation = evaluation(0.7, 4.0);
    let Curve { attack, parameters, points, .. } = evaluation.curves[1].clone();
    let example_attack = Some(ExampleAttack { attack, parameters, epsilon: points[8].epsilon });
    Evaluated { evaluation, images: Vec::new(), examples, example_attack }
}

/// Writes a finished run into the directory at `path`: `method` as in a spec, steps of
/// `step_seconds`.
pub fn run(path: &Path, name: &str, method: &str, miou: f64, step_seconds: f64) {
    run_of(path, name, method, miou, step_seconds, &classes());
}

/// The same with `classes`.
pub fn run_of(path: &Path, name: &str, method: &str, miou: f64, step_seconds: f64, classes: &[Class]) {
    let directory = RunDirectory::lock(path).unwrap();
    let text = format!(
        "name: {name:?}\ndata: {{manifest: /data/scenes.yaml}}\n\
         training: {{method: {{{}}}, epochs: 8}}\nevaluation: {{limit: 24}}\n",
        if method.contains(':') { method.to_owned() } else { format!("{method}: null") }
    );
    let text = if method.contains(':') { text } else { text.replace(&format!("{{{method}: null}}"), method) };
    let spec = Spec::parse(&text, &[]).unwrap();
    directory.write("spec.yaml", spec.to_yaml().unwrap().as_bytes()).unwrap();
    let mut evaluation = evaluation_of(miou, 4.0 * (step_seconds - 1.0).recip(), classes);
    evaluation.worst_case = evaluation.curves[1].points[1..].to_vec();
    evaluation.training = Some(TrainingOrigin {
        method: spec.training.method.name().into(),
        seed: spec.seed,
        step: 200,
        spec_sha256: robustseg_files::sha256(method),
    });
    directory.write_json("evaluation.json", &evaluation).unwrap();
    let images = images(&evaluation);
    let lines: String = images.iter().map(|image| serde_json::to_string(image).unwrap() + "\n").collect();
    directory.write("images.jsonl", lines.as_bytes()).unwrap();

    let share = |part: f64| part * step_seconds * 200.0;
    let seconds = Seconds {
        data: share(0.02),
        attack: share(0.3),
        forward: share(0.2),
        backward: share(0.45),
        optimiser: share(0.03),
    };
    let training = Timing { steps: 200, images: 1600, attacked: 811, seconds, validation_seconds: 12.0 };
    let timing = RunTiming::new(spec.training.method.name(), "cpu".into(), training, 84.0);
    directory.write_json("timing.json", &timing).unwrap();

    let mut provenance = Provenance { fingerprint: "0123abcd".into(), seed: 7, ..Provenance::default() };
    provenance.identity.set("data.manifest.classes", &"aaaa".into());
    provenance.data.manifest_sha256 = "bcbc".into();
    provenance.data.splits = ["train", "val"]
        .map(|name| SplitProvenance {
            name: name.into(),
            samples: 100,
            ids_sha256: "cccc".into(),
            content_sha256: "eeee".into(),
        })
        .into();
    provenance.invocations.push(Invocation::now("cpu"));
    directory.write_json("provenance.json", &provenance).unwrap();

    let mut events =
        vec![Event::TrainingStarted { step: 0, epoch: 0, total_steps: 200, epochs: 8, parameters: 1000 }];
    for step in 0..200_u32 {
        let (place, epoch) = (f64::from(step), u64::from(step) / 25);
        let epsilon = 0.01 + f64::from(step * 31 % 17) * f64::from(step + 50) / 1e5;
        let loss = 2.2 * (-place / 60.0).exp() + 0.3 + 0.2 * f64::from(step * 7919 % 13) / 13.0;
        let record = StepRecord {
            step: step.into(),
            loss: loss as f32,
            penalty: None,
            learning_rate: 0.01,
            images: 8,
            attacked: 1,
            epsilon_mean: Some(epsilon),
            epsilons: vec![epsilon as f32],
            seconds: Seconds::default(),
        };
        events.push(Event::Step { epoch, record });
        if step % 25 == 24 {
            let miou = miou * (1.0 - (-place / 50.0).exp());
            let (step, epoch, pixel_accuracy) = (step.into(), epoch + 1, miou);
            events.push(Event::Validation {
                step,
                epoch,
                miou,
                pixel_accuracy,
                attacked_miou: None,
                best: true,
                seconds: 1.5,
            });
        }
    }
    let line =
        |event| serde_json::to_string(&LoggedEvent { event, time_s: 0.0, wall_time: 0.0 }).unwrap() + "\n";
    let events: String = events.into_iter().map(line).collect();
    directory.write("events.jsonl", events.as_bytes()).unwrap();
    let examples = vec![example("scene 1", 160, 120), example("scene 2", 160, 120)];
    Gallery::write(&directory, classes, &evaluated(examples)).unwrap();
}
