//! Scores of a dataset from the observations of its images.

use robustseg_metrics::{
    Objects, Overlap, bootstrap_interval, greedy_mean_iou, greedy_mean_iou_from, lowest_accuracy,
};
use robustseg_random::stream;

use crate::metrics::{Forms, MetricValues};
use crate::observation::Observation;
use crate::record::Scores;
use crate::{Error, Result};

/// The number of bootstrap samples, and the share of them inside an interval.
const RESAMPLES: usize = 1000;
const LEVEL: f64 = 0.95;

/// The form of each image chosen for the dataset's mean IoU, and the one chosen for the
/// boundaries'.
pub(crate) struct Chosen {
    miou: Vec<usize>,
    boundary: Vec<usize>,
    forms: usize,
}

/// The scores of `images`, each observed in the same number of forms. With several forms, the
/// scores are worst cases.
pub(crate) fn scores(images: &[Vec<&Observation>]) -> Result<Scores> {
    Ok(scores_after(images, None)?.0)
}

/// [`scores`] together with the forms they use. If `images` start with the forms of which
/// `previous` is a choice, no mean exceeds that of `previous`.
pub(crate) fn scores_after(
    images: &[Vec<&Observation>],
    previous: Option<&Chosen>,
) -> Result<(Scores, Chosen)> {
    let forms_of = |of: fn(&Observation) -> &Overlap| -> Vec<Vec<Overlap>> {
        images.iter().map(|forms| forms.iter().map(|observation| of(observation).clone()).collect()).collect()
    };
    let take = |chosen: &[usize], of: &[Vec<Overlap>]| -> Vec<Overlap> {
        of.iter().zip(chosen).map(|(forms, &index)| forms[index].clone()).collect()
    };
    let (overlaps, boundaries) =
        (forms_of(|observation| &observation.overlap), forms_of(|observation| &observation.boundary));
    let chosen = Chosen {
        miou: worst(&overlaps, previous.map(|previous| (&previous.miou, previous.forms))),
        boundary: worst(&boundaries, previous.map(|previous| (&previous.boundary, previous.forms))),
        forms: images.first().map_or(0, Vec::len),
    };
    let for_accuracy: Vec<usize> = overlaps.iter().map(|candidates| lowest_accuracy(candidates)).collect();
    let classes = overlaps.first().map_or(0, |candidates| candidates[0].union().len());
    let taken = take(&chosen.miou, &overlaps);
    let lowest = take(&for_accuracy, &overlaps);
    let boundaries = take(&chosen.boundary, &boundaries);
    let objects = images.iter().zip(&chosen.miou).map(|(forms, &index)| &forms[index].objects);
    let sum = Overlap::sum(classes, &taken);
    let accuracy = Overlap::sum(classes, &lowest).pixel_accuracy();
    let (Some(miou), Some(pixel_accuracy)) = (sum.mean_iou(), accuracy) else {
        return Err(Error::Mismatch {
            what: "samples to evaluate on".into(),
            expected: "at least one labelled pixel".into(),
            actual: "none".into(),
        });
    };
    // The form of each image with its own lowest mean IoU.
    let own = |candidates: &Vec<Overlap>| {
        let least = candidates
            .iter()
            .filter_map(|overlap| Some((overlap, overlap.mean_iou()?)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        least.map(|(overlap, _)| overlap.clone())
    };
    let own: Vec<Overlap> = overlaps.iter().filter_map(own).collect();
    let metrics = MetricValues::of(&Forms {
        classes,
        objects: &Objects::sum(classes, objects),
        own_lowest_miou: &own,
        lowest_accuracy: &lowest,
        boundaries: &boundaries,
    });
    let interval = |images: &[Overlap], statistic: fn(&Overlap) -> Option<f64>| {
        let random = &mut stream(0, "bootstrap", [0; 3]);
        bootstrap_interval(images, statistic, LEVEL, RESAMPLES, |below| below_from(random, below))
    };
    let scores = Scores {
        miou,
        pixel_accuracy,
        iou: sum.iou(),
        metrics,
        miou_interval: interval(&taken, Overlap::mean_iou),
        pixel_accuracy_interval: interval(&lowest, Overlap::pixel_accuracy),
    };
    Ok((scores, chosen))
}

/// Chooses a form of each image such that the mean IoU of all is low. The search starts from each
/// single form and from the lowest accuracies. With a previous choice among the first forms, it
/// starts from that choice, the lowest accuracies and each of the other forms.
fn worst(images: &[Vec<Overlap>], previous: Option<(&Vec<usize>, usize)>) -> Vec<usize> {
    let Some((chosen, known)) = previous else { return greedy_mean_iou(images) };
    let new = known..images.first().map_or(0, Vec::len);
    let lowest = images.iter().map(|forms| lowest_accuracy(forms)).collect();
    let starts = new.map(|form| vec![form; images.len()]).chain([lowest, chosen.clone()]);
    greedy_mean_iou_from(images, starts)
}

fn below_from(random: &mut robustseg_random::ChaCha8Rng, below: usize) -> usize {
    use rand::RngExt;
    random.random_range(0..below)
}
