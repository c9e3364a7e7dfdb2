//! Confusion matrices of a run, from the lines of `images.jsonl`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

use robustseg_evaluation::{Curve, Evaluation, ImageRecord};
use robustseg_metrics::ConfusionMatrix;
use robustseg_words::plain;

use super::names::{epsilon_in_words, title_of_curve};
use crate::exit::BadData;

/// Confusion matrices over all images.
#[derive(Clone, Debug, PartialEq)]
pub struct Confusions {
    /// Without an attack.
    pub clean: ConfusionMatrix,
    /// Under the attack that lowers the mean IoU most, and its name. Of several examples of an image
    /// the one with the fewest right pixels counts.
    pub attacked: Option<(String, ConfusionMatrix)>,
}

impl Confusions {
    /// The matrices of the run directory at `path` with `evaluation`. `None` without
    /// `images.jsonl`, which older versions did not write.
    ///
    /// # Errors
    /// If the file cannot be read or is broken; the error names it and the line.
    pub fn read(path: &Path, evaluation: &Evaluation) -> Result<Option<Self>, BadData> {
        let path = path.join("images.jsonl");
        let refuse = |reason: String| BadData(format!("{}: {reason}", path.display()));
        let file = match File::open(&path) {
            Ok(file) => BufReader::new(file),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(refuse(format!("cannot be read: {error}"))),
        };
        let strongest = strongest(evaluation);
        let classes = evaluation.clean.iou.len();
        let mut clean = ConfusionMatrix::new(classes);
        let mut attacked: HashMap<String, (f64, ConfusionMatrix)> = HashMap::new();
        for (number, line) in (1..).zip(file.lines()) {
            let line = line.map_err(|error| refuse(format!("cannot be read: {error}")))?;
            let broken = |reason: String| {
                refuse(format!("line {number} is not an image that robustseg writes ({reason})"))
            };
            let image: ImageRecord = serde_json::from_str(&line).map_err(|error| broken(plain(error)))?;
            let counted = || {
                let matrix = ConfusionMatrix::from_pairs(classes, &image.confusion);
                matrix.map_err(|error| broken(error.to_string()))
            };
            if image.attack.is_none() {
                clean.merge(&counted()?).map_err(|error| broken(error.to_string()))?;
            } else if strongest.is_some_and(|(curve, epsilon)| is_of(&image, curve, epsilon)) {
                let matrix = counted()?;
                let accuracy = matrix.pixel_accuracy().unwrap_or(0.0);
                let known = attacked.get(&image.id).is_some_and(|(lowest, _)| *lowest <= accuracy);
                if !known {
                    attacked.insert(image.id, (accuracy, matrix));
                }
            }
        }
        let name = strongest.filter(|_| !attacked.is_empty());
        let name = name.map(|(curve, epsilon)| {
            format!("{} at epsilon {}", title_of_curve(curve), epsilon_in_words(epsilon))
        });
        let attacked = name.map(|name| {
            let mut sum = ConfusionMatrix::new(classes);
            for (_, matrix) in attacked.values() {
                // All have the same number of classes.
                let _ = sum.merge(matrix);
            }
            (name, sum)
        });
        Ok(Some(Self { clean, attacked }))
    }
}

/// The curve and the epsilon with the lowest mean IoU under attack.
fn strongest(evaluation: &Evaluation) -> Option<(&Curve, f64)> {
    let points =
        evaluation.curves.iter().flat_map(|curve| curve.points.iter().map(move |point| (curve, point)));
    let attacked = points.filter(|(_, point)| point.epsilon > 0.0);
    let lowest = attacked.min_by(|a, b| a.1.scores.miou.total_cmp(&b.1.scores.miou));
    lowest.map(|(curve, point)| (curve, point.epsilon))
}

fn is_of(image: &ImageRecord, curve: &Curve, epsilon: f64) -> bool {
    image.epsilon == epsilon
        && image.attack.as_ref() == Some(&curve.attack)
        && image.source == curve.source
        && image.parameters == curve.parameters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::fixture;

    #[test]
    fn the_matrices_are_of_clean_images_and_of_the_strongest_attack() {
        let folder = tempfile::tempdir().unwrap();
        let evaluation = fixture::evaluation(0.7, 4.0);
        assert_eq!(Confusions::read(folder.path(), &evaluation).unwrap(), None);
        let line = |id: &str, attacked: bool, epsilon, right| {
            let curve = &evaluation.curves[1];
            let image = ImageRecord {
                id: id.into(),
                attack: attacked.then(|| curve.attack.clone()),
                parameters: curve.parameters.clone(),
                source: None,
                epsilon,
                candidate: None,
                loss: 0.5,
                largest_perturbation: 0.0,
                confusion: vec![(0, 0, right), (0, 1, 10 - right)],
            };
            serde_json::to_string(&image).unwrap() + "\n"
        };
        let text = [
            line("a", false, 0.0, 9),
            line("b", false, 0.0, 8),
            line("a", true, 0.04, 3),
            line("a", true, 0.04, 2),
            line("b", true, 0.04, 1),
            line("a", true, 0.02, 0),
        ];
        std::fs::write(folder.path().join("images.jsonl"), text.concat()).unwrap();
        let found = Confusions::read(folder.path(), &evaluation).unwrap().unwrap();
        assert_eq!(found.clean.pairs(), [(0, 0, 17), (0, 1, 3)]);
        let (name, attacked) = found.attacked.unwrap();
        assert_eq!(name, "BIM, alpha 0.004, 10 steps at epsilon 0.04 (10.2/255)");
        assert_eq!(attacked.pairs(), [(0, 0, 3), (0, 1, 17)]);
        for (broken, part) in [("{\"id\": 3}\n", "line 7"), ("{}\n", "line 7")] {
            std::fs::write(folder.path().join("images.jsonl"), text.concat() + broken).unwrap();
            let error = Confusions::read(folder.path(), &evaluation).unwrap_err().to_string();
            assert!(error.contains("images.jsonl") && error.contains(part), "{error}");
        }
    }
}
