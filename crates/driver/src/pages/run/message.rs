//! What a reader of a report has to know first: how robust, against what, on how much.

use robustseg_attacks::Norm;
use robustseg_evaluation::{Curve, Evaluation, Point, Scope, SourceRecord};
use robustseg_words::counted;

use super::warnings;
use crate::draw::html;
use crate::pages::names::{epsilon_in_words, paper_name, title_of_curve};
use crate::pages::summary::RunSummary;
use crate::provenance::origin_in_words;

/// One sentence with the clean score and the one under attack.
pub(super) fn sentence(evaluation: &Evaluation) -> String {
    let clean = format!("Mean IoU {:.3} clean", evaluation.clean.miou);
    let attacked = |point: &Point| point.epsilon > 0.0;
    let in_balls =
        |curve: &&Curve| curve.parameters.norm() == Norm::Linf && curve.points.iter().any(attacked);
    let linf: Vec<&Curve> = evaluation.curves.iter().filter(in_balls).collect();
    let at = |point: &Point| (point.scores.miou, epsilon_in_words(point.epsilon));
    if let (Some(point), [one, ..]) = (evaluation.worst_case.last(), &linf[..]) {
        let (miou, epsilon) = at(point);
        let attacks = match linf.len() {
            1 => title_of_curve(one),
            several => format!("the worst of {several} attacks"),
        };
        return format!("{clean}, {miou:.3} under {attacks} at epsilon {epsilon}");
    }
    let points =
        evaluation.curves.iter().flat_map(|curve| curve.points.iter().map(move |point| (curve, point)));
    let lowest = points
        .filter(|(_, point)| attacked(point))
        .min_by(|a, b| a.1.scores.miou.total_cmp(&b.1.scores.miou));
    lowest.map_or(format!("{clean}; no attack was evaluated"), |(curve, point)| {
        let (miou, epsilon) = at(point);
        format!("{clean}, {miou:.3} under {} at epsilon {epsilon}", title_of_curve(curve))
    })
}

/// Attacks, images, weights and warnings, a line each.
pub(super) fn lead(run: &RunSummary) -> String {
    let curves = &run.evaluation.curves;
    let mut lines = Vec::new();
    let titles: Vec<String> = curves.iter().map(title_of_curve).collect();
    lines.extend((!titles.is_empty()).then(|| ("Attacks", titles.join("; "))));
    let source = |SourceRecord { name, training, .. }: &SourceRecord| {
        format!("{name} ({})", origin_in_words(training.as_ref(), None))
    };
    let sources: Vec<String> = run.evaluation.sources.iter().map(source).collect();
    lines.extend((!sources.is_empty()).then(|| ("Sources", sources.join("; "))));
    lines.extend(images(run).map(|images| ("Images", images)));
    lines.push(("Weights", weights(run)));
    let warned = warnings::all(run).len();
    lines.extend((warned > 0).then(|| ("Warnings", format!("{}, below", counted(warned, "warning")))));
    html::definitions(lines)
}

/// The evaluated images, such as `24 of 100 images of split val of camvid, centre 184x184 of each`.
fn images(run: &RunSummary) -> Option<String> {
    let Scope { split, protocol, window, images, split_images, .. } = &run.evaluation.scope;
    let images = (*images)?;
    let all = split_images.map_or(counted(images, "image"), |all| format!("{images} of {all} images"));
    let split = split.as_ref().map_or(String::new(), |split| format!(" of split {split}"));
    let manifest = run.spec.as_ref().and_then(|spec| spec.data.manifest.file_stem());
    let manifest = manifest.map_or(String::new(), |stem| format!(" of {}", stem.to_string_lossy()));
    let protocol = protocol.as_ref().filter(|protocol| !protocol.is_whole_image());
    let protocol = protocol.map_or(String::new(), |protocol| format!(", protocol {protocol}"));
    let window = window.as_ref().map_or(String::new(), |window| format!(", {window}"));
    Some(format!("{all}{split}{manifest}{window}{protocol}"))
}

/// The evaluated weights, such as `last, step 200 of pspnet trained with Fast Newton, seed 0`.
fn weights(run: &RunSummary) -> String {
    let name = run.evaluation.scope.weights.clone();
    let training = run.evaluation.training.as_ref();
    let step = training.map(|training| format!("step {}", training.step));
    let seed = training.map(|training| format!("seed {}", training.seed));
    let network = run.spec.as_ref().filter(|_| !run.is_of_checkpoint());
    let network =
        network.map_or("trained".into(), |spec| format!("{} trained", spec.model.architecture.name()));
    let method = match run.method() {
        Some(method) => format!("{network} with {}", paper_name(method)),
        None => "of unknown training".into(),
    };
    let checkpoint = run.provenance.as_ref().and_then(|provenance| provenance.checkpoint.as_ref());
    let path = checkpoint.map(|checkpoint| checkpoint.path.clone());
    [name, path, Some(method), seed, step].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::fixture;

    #[test]
    fn the_sentence_has_the_worst_case_and_names_a_single_attack() {
        let mut evaluation = fixture::evaluation(0.7, 4.0);
        assert_eq!(
            sentence(&evaluation),
            "Mean IoU 0.700 clean, 0.029 under BIM, alpha 0.004, 10 steps at epsilon 0.04 (10.2/255)"
        );
        evaluation.worst_case = evaluation.curves[0].points[1..].to_vec();
        assert_eq!(
            sentence(&evaluation),
            "Mean IoU 0.700 clean, 0.141 under the worst of 2 attacks at epsilon 0.04 (10.2/255)"
        );
        evaluation.curves.truncate(1);
        assert!(sentence(&evaluation).contains(", 0.141 under FGSM at epsilon 0.04"));
        evaluation.curves.clear();
        assert_eq!(sentence(&evaluation), "Mean IoU 0.700 clean; no attack was evaluated");
    }
}
