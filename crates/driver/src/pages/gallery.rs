//! The examples in `figures/examples`: figure 1 of Wiens & Hammer 2022 as PNGs.

use std::path::Path;

use anyhow::Context;
use robustseg_attacks::Settings;
use robustseg_datasets::{Class, Image};
use robustseg_evaluation::{Evaluated, Example};
use serde::{Deserialize, Serialize};

use crate::draw::picture;
use crate::exit::BadData;
use crate::image_file::{label_png, rgb_png};
use crate::records::read_json;
use crate::run_directory::RunDirectory;

const FOLDER: &str = "figures/examples";
const FILE: &str = "figures/examples/gallery.json";
/// The ends of the names of an example's pictures.
const PICTURES: [&str; 8] = [
    "image",
    "label",
    "prediction",
    "adversarial",
    "adversarial_prediction",
    "error",
    "perturbation",
    "figure1",
];
/// The longest side of a stored picture in pixels. Larger pictures are thinned out.
const LONGEST: usize = 1024;

/// The content of `gallery.json` in `figures/examples`.
///
/// Next to it are the pictures of each example: `NN_image.png`, `NN_label.png`,
/// `NN_prediction.png`, `NN_adversarial.png`, `NN_adversarial_prediction.png`, `NN_error.png` (in
/// the colours of [`picture::ERRORS`]), `NN_perturbation.png`, and `NN_figure1.png`, which shows
/// the four of the paper's figure 1 side by side. Label maps are palette PNGs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gallery {
    /// The attack on the examples.
    pub attack: String,
    /// Its epsilon.
    pub epsilon: f64,
    /// Its other settings.
    pub parameters: Settings,
    /// The classes of the palette PNGs, by label.
    pub classes: Vec<Class>,
    /// The examples.
    pub examples: Vec<GalleryExample>,
}

/// An example of a [`Gallery`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GalleryExample {
    /// Its sample's id.
    pub id: String,
    /// The beginning of the names of its files.
    pub number: String,
    /// The factor of the shown perturbation.
    pub perturbation_times: u8,
    /// Share of its labelled pixels that are right under the attack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixel_accuracy: Option<f64>,
    /// The cross-entropy along the attack's direction: pairs of a multiple of the perturbation and
    /// the loss there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub landscape: Vec<(f64, f32)>,
}

impl Gallery {
    /// Replaces the examples in `directory` by those of `evaluated`. Returns `None` if the
    /// evaluation had no attack.
    pub fn write(
        directory: &RunDirectory,
        classes: &[Class],
        evaluated: &Evaluated,
    ) -> anyhow::Result<Option<Self>> {
        remove(directory)?;
        let Evaluated { examples, example_attack: Some(attack), .. } = evaluated else { return Ok(None) };
        let palette: Vec<[u8; 3]> = classes.iter().map(|class| class.colour).collect();
        let entries = examples.iter().enumerate().map(|(index, example)| {
            let number = format!("{:02}", index + 1);
            let perturbation_times = write_pictures(directory, &number, example, &palette)?;
            let (id, pixel_accuracy) = (example.id.clone(), Some(example.pixel_accuracy));
            let landscape = example.landscape.clone();
            Ok(GalleryExample { id, number, perturbation_times, pixel_accuracy, landscape })
        });
        let gallery = Self {
            attack: attack.attack.clone(),
            epsilon: attack.epsilon,
            parameters: attack.parameters.clone(),
            classes: classes.to_vec(),
            examples: entries.collect::<anyhow::Result<_>>()?,
        };
        directory.write_json(FILE, &gallery)?;
        Ok(Some(gallery))
    }

    /// Reads the gallery of the run directory at `path`. `None` if there is no gallery.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, BadData> {
        read_json(&path.join(FILE))
    }
}

impl GalleryExample {
    /// The bytes of its picture `name` (`image`, `label`, ...) in the run directory at `path`.
    pub(super) fn png(&self, path: &Path, name: &str) -> Result<Vec<u8>, BadData> {
        let file = path.join(FOLDER).join(format!("{}_{name}.png", self.number));
        std::fs::read(&file).map_err(|error| BadData(format!("{}: cannot be read: {error}", file.display())))
    }
}

/// Deletes the pictures of the gallery in `directory` and leaves other files alone.
fn remove(directory: &RunDirectory) -> anyhow::Result<()> {
    // An unreadable gallery is replaced, too.
    let Ok(Some(former)) = Gallery::read(directory.path()) else { return Ok(()) };
    let numbers = former.examples.iter().map(|example| example.number.as_str());
    let numbers = numbers.filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    for path in numbers.flat_map(|number| PICTURES.map(|name| format!("{FOLDER}/{number}_{name}.png"))) {
        let path = directory.file(&path);
        if path.exists() {
            std::fs::remove_file(&path).with_context(|| format!("deleting {}", path.display()))?;
        }
    }
    Ok(())
}

/// Writes the pictures of one example and returns the factor of the shown perturbation.
fn write_pictures(
    directory: &RunDirectory,
    number: &str,
    example: &Example,
    palette: &[[u8; 3]],
) -> anyhow::Result<u8> {
    let step = example.width.max(example.height).div_ceil(LONGEST).max(1);
    let width = example.width.div_ceil(step);
    let height = example.height.div_ceil(step);
    let image = |data: &[u8]| Image { width, height, data: picture::thinned(data, example.width, 3, step) };
    let labels = |data: &[u8]| picture::thinned(data, example.width, 1, step);
    let write = |name: &str, png: &[u8]| directory.write(&format!("{FOLDER}/{number}_{name}.png"), png);

    let (clean, adversarial) = (image(&example.image), image(&example.adversarial));
    let prediction = labels(&example.prediction);
    let adversarial_prediction = labels(&example.adversarial_prediction);
    let (perturbation, times) = picture::perturbation(&clean.data, &adversarial.data, width);
    let label = labels(&example.label);
    for (name, map) in
        [("label", &label), ("prediction", &prediction), ("adversarial_prediction", &adversarial_prediction)]
    {
        write(name, &label_png(map, width, height, palette)?)?;
    }
    let errors = picture::errors(&label, &prediction, &adversarial_prediction);
    write("error", &label_png(&errors, width, height, &picture::ERRORS.map(|(_, colour)| colour))?)?;
    write("image", &rgb_png(&clean)?)?;
    write("adversarial", &rgb_png(&adversarial)?)?;
    write("perturbation", &rgb_png(&perturbation)?)?;
    let coloured = |map: &[u8]| picture::coloured(map, width, palette);
    let row = [clean, coloured(&prediction), adversarial, coloured(&adversarial_prediction)];
    write("figure1", &rgb_png(&picture::side_by_side(&row)?)?)?;
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::fixture;

    #[test]
    fn a_gallery_replaces_the_previous_one() {
        let folder = tempfile::tempdir().unwrap();
        let directory = RunDirectory::lock(folder.path()).unwrap();
        let examples = vec![fixture::example("a/../b", 40, 30), fixture::example("c", 40, 30)];
        let write = |examples: &[Example]| {
            Gallery::write(&directory, &fixture::classes(), &fixture::evaluated(examples.to_vec())).unwrap()
        };
        write(&examples);
        assert!(directory.file("figures/examples/02_figure1.png").is_file());
        std::fs::write(directory.file("figures/examples/notes.txt"), b"mine").unwrap();
        let written = write(&examples[..1]).unwrap();
        let mut left = std::fs::read_dir(directory.file("figures/examples")).unwrap();
        assert!(left.all(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with("02")));
        assert!(directory.file("figures/examples/notes.txt").exists());
        assert_eq!(Gallery::read(folder.path()).unwrap().unwrap(), written);
        assert_eq!(written.classes[1].name, "<road>");
        let label = std::fs::read(directory.file("figures/examples/01_label.png")).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(label)).read_info().unwrap();
        assert_eq!(reader.info().color_type, png::ColorType::Indexed);
        let mut indices = vec![0; 40 * 30];
        reader.next_frame(&mut indices).unwrap();
        assert_eq!(indices, examples[0].label);
    }

    #[test]
    fn large_examples_are_thinned_out() {
        let folder = tempfile::tempdir().unwrap();
        let directory = RunDirectory::lock(folder.path()).unwrap();
        let evaluated = fixture::evaluated(vec![fixture::example("wide", 2049, 3)]);
        Gallery::write(&directory, &fixture::classes(), &evaluated).unwrap();
        let image = robustseg_datasets::read_image(&directory.file("figures/examples/01_image.png")).unwrap();
        assert_eq!((image.width, image.height), (683, 1));
    }
}
