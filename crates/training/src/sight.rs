//! What is seen of an image, clean or attacked, and what scores follow from that of many.

use robustseg_metrics::{
    Overlap, bootstrap_interval, greedy_mean_iou, image_averaged_mean_iou, lowest_accuracy,
};
use robustseg_random::stream;

use crate::{Error, Result, Scores};

/// Bootstrap samples for an interval, and the share of them that it holds.
const RESAMPLES: usize = 1000;
const LEVEL: f64 = 0.95;

/// What the network makes of one image.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    /// Label, prediction and number of pixels, for the pairs that occur.
    pub(crate) pairs: Vec<(u8, u8, u64)>,
    pub(crate) overlap: Overlap,
    pub(crate) boundary: Overlap,
    /// Mean cross-entropy over the labelled pixels.
    pub(crate) loss: f32,
    /// The largest change of a value from the clean image.
    pub(crate) largest: f32,
    /// Share of the values, those at 0 and 1 left out, that did not change.
    pub(crate) unmoved: f32,
}

/// The scores of `images`, each seen once or in as many attacked forms, then in the worst case.
pub(crate) fn scores(images: &[Vec<&Sight>]) -> Result<Scores> {
    let overlaps: Vec<Vec<Overlap>> =
        images.iter().map(|seen| seen.iter().map(|sight| sight.overlap.clone()).collect()).collect();
    let take = |chosen: &[usize], of: fn(&Sight) -> &Overlap| -> Vec<Overlap> {
        images.iter().zip(chosen).map(|(seen, &index)| of(seen[index]).clone()).collect()
    };
    let for_mean_iou = greedy_mean_iou(&overlaps);
    let for_accuracy: Vec<usize> = overlaps.iter().map(|candidates| lowest_accuracy(candidates)).collect();
    let classes = overlaps.first().map_or(0, |candidates| candidates[0].union().len());
    let taken = take(&for_mean_iou, |sight| &sight.overlap);
    let lowest = take(&for_accuracy, |sight| &sight.overlap);
    let boundary = Overlap::sum(classes, &take(&for_mean_iou, |sight| &sight.boundary));
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
    let interval = |images: &[Overlap], statistic: fn(&Overlap) -> Option<f64>| {
        let random = &mut stream(0, "bootstrap", [0; 3]);
        bootstrap_interval(images, statistic, LEVEL, RESAMPLES, |below| below_from(random, below))
    };
    Ok(Scores {
        miou,
        pixel_accuracy,
        iou: sum.iou(),
        image_averaged_miou: image_averaged_mean_iou(&own),
        boundary_miou: boundary.mean_iou(),
        miou_interval: interval(&taken, Overlap::mean_iou),
        pixel_accuracy_interval: interval(&lowest, Overlap::pixel_accuracy),
    })
}

fn below_from(random: &mut robustseg_random::ChaCha8Rng, below: usize) -> usize {
    use rand::RngExt;
    random.random_range(0..below)
}
