//! What is seen of an image, clean or attacked, and what scores follow from that of many.

use robustseg_metrics::{
    Overlap, bootstrap_interval, greedy_mean_iou, greedy_mean_iou_from, image_averaged_mean_iou,
    lowest_accuracy, mean_and_deviation,
};
use robustseg_random::stream;
use serde::{Deserialize, Serialize};

use crate::exact::{bits, counts};
use crate::{Error, Result, Scores};

/// Bootstrap samples for an interval, and the share of them that it holds.
const RESAMPLES: usize = 1000;
const LEVEL: f64 = 0.95;

/// What the network makes of one image. It is stored and read again without any rounding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sight {
    /// Label, prediction and number of pixels, for the pairs that occur.
    pub(crate) pairs: Vec<(u8, u8, u64)>,
    #[serde(with = "counts")]
    pub(crate) overlap: Overlap,
    #[serde(with = "counts")]
    pub(crate) boundary: Overlap,
    /// Mean cross-entropy over the labelled pixels.
    #[serde(with = "bits")]
    pub(crate) loss: f32,
    /// The largest change of a value from the clean image.
    #[serde(with = "bits")]
    pub(crate) largest: f32,
    /// Share of the values, those at 0 and 1 left out, that did not change.
    #[serde(with = "bits")]
    pub(crate) unmoved: f32,
}

/// The form of each image that was taken for the dataset's mean IoU and for that of the boundaries, out of `forms`.
pub(crate) struct Chosen {
    miou: Vec<usize>,
    boundary: Vec<usize>,
    forms: usize,
}

/// The scores of `images`, each seen once or in as many attacked forms, then in the worst case.
pub(crate) fn scores(images: &[Vec<&Sight>]) -> Result<Scores> {
    Ok(scores_after(images, None)?.0)
}

/// [`scores`], and what was chosen for them. If `images` have all forms that `former` was chosen from, and further ones
/// behind them, no mean is above the one that `former` gave.
pub(crate) fn scores_after(images: &[Vec<&Sight>], former: Option<&Chosen>) -> Result<(Scores, Chosen)> {
    let forms_of = |of: fn(&Sight) -> &Overlap| -> Vec<Vec<Overlap>> {
        images.iter().map(|seen| seen.iter().map(|sight| of(sight).clone()).collect()).collect()
    };
    let take = |chosen: &[usize], of: &[Vec<Overlap>]| -> Vec<Overlap> {
        of.iter().zip(chosen).map(|(forms, &index)| forms[index].clone()).collect()
    };
    let (overlaps, boundaries) = (forms_of(|sight| &sight.overlap), forms_of(|sight| &sight.boundary));
    let chosen = Chosen {
        miou: worst(&overlaps, former.map(|former| (&former.miou, former.forms))),
        boundary: worst(&boundaries, former.map(|former| (&former.boundary, former.forms))),
        forms: images.first().map_or(0, Vec::len),
    };
    let for_accuracy: Vec<usize> = overlaps.iter().map(|candidates| lowest_accuracy(candidates)).collect();
    let classes = overlaps.first().map_or(0, |candidates| candidates[0].union().len());
    let taken = take(&chosen.miou, &overlaps);
    let lowest = take(&for_accuracy, &overlaps);
    let boundary = Overlap::sum(classes, &take(&chosen.boundary, &boundaries));
    let sum = Overlap::sum(classes, &taken);
    let accuracy = Overlap::sum(classes, &lowest).pixel_accuracy();
    let (Some(miou), Some(pixel_accuracy)) = (sum.mean_iou(), accuracy) else {
        return Err(Error::Mismatch {
            what: "samples to evaluate on".into(),
            expected: "at least one labelled pixel".into(),
            actual: "none".into(),
        });
    };
    // Of each image the form with its own lowest mean IoU.
    let own = |candidates: &Vec<Overlap>| {
        let least = candidates
            .iter()
            .filter_map(|overlap| Some((overlap, overlap.mean_iou()?)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        least.map(|(overlap, _)| overlap.clone())
    };
    let own: Vec<Overlap> = overlaps.iter().filter_map(own).collect();
    let accuracies: Vec<f64> = lowest.iter().filter_map(Overlap::pixel_accuracy).collect();
    let interval = |images: &[Overlap], statistic: fn(&Overlap) -> Option<f64>| {
        let random = &mut stream(0, "bootstrap", [0; 3]);
        bootstrap_interval(images, statistic, LEVEL, RESAMPLES, |below| below_from(random, below))
    };
    let scores = Scores {
        miou,
        pixel_accuracy,
        iou: sum.iou(),
        image_averaged_miou: image_averaged_mean_iou(&own),
        image_averaged_pixel_accuracy: mean_and_deviation(&accuracies).map(|(mean, _)| mean),
        boundary_miou: boundary.mean_iou(),
        miou_interval: interval(&taken, Overlap::mean_iou),
        pixel_accuracy_interval: interval(&lowest, Overlap::pixel_accuracy),
    };
    Ok((scores, chosen))
}

/// The form of each image for a low mean IoU of all; sought from each single form, or, where some of the first forms were
/// chosen before, from that choice and the forms behind them.
fn worst(images: &[Vec<Overlap>], former: Option<(&Vec<usize>, usize)>) -> Vec<usize> {
    let Some((chosen, known)) = former else { return greedy_mean_iou(images) };
    let new = known..images.first().map_or(0, Vec::len);
    let lowest = images.iter().map(|forms| lowest_accuracy(forms)).collect();
    let starts = new.map(|form| vec![form; images.len()]).chain([lowest, chosen.clone()]);
    greedy_mean_iou_from(images, starts)
}

fn below_from(random: &mut robustseg_random::ChaCha8Rng, below: usize) -> usize {
    use rand::RngExt;
    random.random_range(0..below)
}
