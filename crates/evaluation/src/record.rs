//! The records that an evaluation leaves: `evaluation.json`.

use std::fmt;

use robustseg_attacks::Settings;
use robustseg_models::TrainingOrigin;
use robustseg_words::counted;
use serde::{Deserialize, Serialize};

use crate::metrics::MetricValues;

/// Scores of one network on clean and attacked images of a whole dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Without any attack.
    pub clean: Scores,
    /// One curve for each attack, in the order of the configuration.
    pub curves: Vec<Curve>,
    /// The worst case over all curves' attacks, at each of their epsilons above 0, rising. A ball holds all smaller ones:
    /// the candidates at an epsilon are the clean image and the examples of all epsilons up to it, so that no score but
    /// those of single classes rises with epsilon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub worst_case: Vec<Point>,
    /// What gives reason to distrust a number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// SHA-256 of the checkpoint whose weights were evaluated, if they are those of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The training that made the weights; in JSON the word `unknown` if the checkpoint does not say.
    #[serde(default, with = "unknown")]
    pub training: Option<TrainingOrigin>,
    /// What was scored, and on which images.
    #[serde(flatten)]
    pub scope: Scope,
}

/// JSON of what may be unknown.
mod unknown {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written<T> {
        Known(T),
        Unknown(String),
    }

    // Serde's signature.
    #[allow(clippy::ref_option)]
    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_str("unknown"),
        }
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Known(value) => Some(value),
            Written::Unknown(_) => None,
        })
    }
}

/// What was scored, and on which images. A part that is unknown is missing: files from before it was kept have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scope {
    /// The split that the images are from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Images that were evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<usize>,
    /// Images in the split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_images: Option<usize>,
    /// The names of the classes, in the order of the logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// Which of a training's weights were scored: `last`, `best`, or the name of a checkpoint's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Whether the weights were chosen by their clean score on the split that is evaluated: a selection on the test data.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub selected_on_evaluated_split: bool,
}

/// As a sentence says it: `24 of 100 images of split val, weights: last`. Empty if nothing is known.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let images = match (self.images, self.split_images) {
            (Some(images), Some(all)) => Some(format!("{images} of {all} images")),
            (Some(images), None) => Some(counted(images, "image")),
            (None, _) => None,
        };
        let split =
            self.split.as_ref().filter(|_| images.is_some()).map(|split| format!(" of split {split}"));
        let weights = self.weights.as_ref().map(|weights| format!("weights: {weights}"));
        let images = images.map(|images| images + &split.unwrap_or_default());
        f.write_str(&images.into_iter().chain(weights).collect::<Vec<_>>().join(", "))
    }
}

/// Scores over a whole dataset, all of them fractions in `[0, 1]`. Where an attack has several examples of an image,
/// they are the worst case: mean IoU and the classes' IoU of the choice that lowers the dataset's mean IoU, the boundary's
/// of the choice that lowers that, the others of each image's lowest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Mean of the classes' IoU over the dataset, over those that occur.
    pub miou: f64,
    /// Share of the labelled pixels that are right.
    pub pixel_accuracy: f64,
    /// Intersection over union of each class; `None` for one that occurs neither in labels nor predictions.
    pub iou: Vec<Option<f64>>,
    /// The values of the registered [`METRICS`](crate::METRICS), each under its own key.
    #[serde(flatten)]
    pub metrics: MetricValues,
    /// 95 % of bootstrap samples of the images have a `miou` between these two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miou_interval: Option<[f64; 2]>,
    /// 95 % of bootstrap samples of the images have a `pixel_accuracy` between these two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixel_accuracy_interval: Option<[f64; 2]>,
}

/// A robustness curve: scores under one attack as epsilon grows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "WrittenCurve")]
pub struct Curve {
    /// The attack's name.
    pub attack: String,
    /// The attack's settings.
    pub parameters: Settings,
    /// The points in the order of the configuration.
    pub points: Vec<Point>,
    /// What the attack cost for all points together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<Passes>,
}

/// A curve as a file has it. An older version may have written fewer settings.
#[derive(Deserialize)]
struct WrittenCurve {
    attack: String,
    parameters: Settings,
    points: Vec<Point>,
    #[serde(default)]
    passes: Option<Passes>,
}

impl From<WrittenCurve> for Curve {
    fn from(written: WrittenCurve) -> Self {
        let WrittenCurve { attack, parameters, points, passes } = written;
        Self { parameters: robustseg_attacks::completed(&attack, &parameters), attack, points, passes }
    }
}

/// Average cost of one image in passes through the network. Points that share gradients pay for them once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passes {
    /// Forward passes, those before a backward pass among them; those that make the predictions to be scored are not.
    pub forward: f64,
    /// Backward passes.
    pub backward: f64,
}

/// A point of a robustness curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The attack's epsilon; 0 is the clean image.
    pub epsilon: f64,
    /// The scores there.
    #[serde(flatten)]
    pub scores: Scores,
    /// Where the scores are a worst case, what it is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<CandidateScores>,
}

/// Scores of one of an attack's examples alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateScores {
    /// Its name.
    pub name: String,
    /// Mean IoU over the dataset.
    pub miou: f64,
    /// Share of the labelled pixels that are right.
    pub pixel_accuracy: f64,
}

/// A reason to distrust a number of a curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// Which.
    pub kind: WarningKind,
    /// The curve's attack.
    pub attack: String,
    /// Its settings.
    pub parameters: Settings,
    /// The point's epsilon.
    pub epsilon: f64,
    /// The observation, and what it may mean.
    pub message: String,
}

/// What may be wrong with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    /// The gradient of images vanishes: it may be masked.
    ZeroGradient,
    /// The attack did not raise the cross-entropy of images.
    LossDoesNotRise,
    /// The attack gets weaker as its ball grows.
    WeakerThanSmallerEpsilon,
    /// An attack that costs less is stronger.
    WeakerThanCheaperAttack,
    /// Much depends on where a random start lies.
    RandomStartDecisive,
    /// The attack does not reach the surface of its ball.
    BudgetUnused,
    /// The model's gradient is not quite the slope of its loss; of all attacks, at the largest epsilon.
    InexactGradient,
}

/// The record of one image and attack: a line of `images.jsonl`. Confusion matrices add, so that any score and any worst case can
/// be computed from the lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The sample's id.
    pub id: String,
    /// The attack's name, nothing for the clean image.
    pub attack: Option<String>,
    /// Its settings.
    pub parameters: Settings,
    /// Its epsilon.
    pub epsilon: f64,
    /// The name of its example, where it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// Mean cross-entropy over the labelled pixels.
    pub loss: f32,
    /// The largest change of a value.
    pub largest_perturbation: f32,
    /// Label, prediction and number of pixels, for the pairs that occur.
    pub confusion: Vec<(u8, u8, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_says_how_many_images_of_how_many() {
        let scope = Scope {
            split: Some("val".into()),
            images: Some(24),
            split_images: Some(100),
            weights: Some("best".into()),
            ..Scope::default()
        };
        assert_eq!(scope.to_string(), "24 of 100 images of split val, weights: best");
        assert_eq!(Scope { images: Some(1), ..Scope::default() }.to_string(), "1 image");
        assert_eq!(Scope::default().to_string(), "");
    }

    #[test]
    fn an_evaluation_from_before_there_were_scopes_is_read() -> serde_json::Result<()> {
        let text = r#"{"clean": {"miou": 0.5, "pixel_accuracy": 0.75, "iou": [0.5, null]}, "curves": []}"#;
        let read: Evaluation = serde_json::from_str(text)?;
        assert_eq!(read.scope, Scope::default());
        let written = serde_json::to_string(&read)?;
        assert!(!written.contains("images") && !written.contains("selected"), "{written}");
        Ok(())
    }
}
