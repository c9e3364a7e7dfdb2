//! The registry compared with serde and the documentation, and a small dataset of every layout.

use std::path::Path;

use png::{BitDepth, ColorType, Encoder};

use super::{fixtures, layouts};
use crate::{Dataset, Error, Manifest, check};

/// Pixels per row of all pictures.
const WIDTH: u32 = 4;

/// A dataset with one sample in its split `train`.
pub(super) struct Fixture {
    /// The key `layout` of its manifest.
    pub(super) layout: &'static str,
    /// The keys of its split except for `count`.
    pub(super) split: &'static str,
    /// Its files below the dataset's folder.
    pub(super) files: Vec<(&'static str, Content)>,
    /// The id of its sample.
    pub(super) id: &'static str,
    /// The sample's first labels.
    pub(super) labels: &'static [u8],
}

/// The content of a file.
pub(super) enum Content {
    Text(&'static str),
    /// An RGB image.
    Image,
    /// A gray label map with these values in the first columns and the last value in the others.
    Label(&'static [u8]),
}

pub(super) const IMAGE: Content = Content::Image;

pub(super) const fn label(values: &'static [u8]) -> Content {
    Content::Label(values)
}

pub(super) const fn text(text: &'static str) -> Content {
    Content::Text(text)
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        let width = WIDTH as usize;
        match self {
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Image => png(ColorType::Rgb, &vec![100; 3 * width * width]),
            Self::Label(values) => {
                let row = (0..width).map(|x| values[x.min(values.len() - 1)]);
                png(ColorType::Grayscale, &row.collect::<Vec<_>>().repeat(width))
            }
        }
    }
}

fn png(colour: ColorType, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, WIDTH, WIDTH);
    encoder.set_color(colour);
    encoder.set_depth(BitDepth::Eight);
    encoder.write_header().and_then(|mut writer| writer.write_image_data(data)).expect("a PNG in memory");
    bytes
}

impl Fixture {
    /// The manifest, with a number of classes that fits the layout.
    fn manifest(&self) -> Manifest {
        let comma = if self.split.is_empty() { "" } else { ", " };
        let text = |classes: usize| {
            let classes: Vec<String> =
                (0..classes).map(|n| format!("{{name: c{n}, colour: [{n}, 0, 0]}}")).collect();
            let classes = classes.join(", ");
            format!(
                "name: small\nfolder: small\nlayout: {}\nclasses: [{classes}]\nsplits:\n  train: {{count: 1{comma}{}}}\n\
                 citation: c\nlicence: l\nobtain: ask\n",
                self.layout, self.split
            )
        };
        let parsed = [2, 19].map(|classes| Manifest::parse(&text(classes), Path::new("m.yaml")));
        parsed.into_iter().find_map(Result::ok).expect("a manifest")
    }

    fn write(&self, root: &Path) {
        for (path, content) in &self.files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content.bytes()).unwrap();
        }
    }
}

#[test]
fn every_layout_reads_and_checks_its_fixture() {
    for fixture in fixtures() {
        let folder = tempfile::tempdir().unwrap();
        fixture.write(folder.path());
        let manifest = fixture.manifest();
        let dataset = Dataset::open(&manifest, folder.path(), "train").unwrap();
        let sample = dataset.load(0).unwrap();
        assert_eq!((dataset.len(), dataset.id(0)), (1, fixture.id));
        assert_eq!(sample.label.data[..fixture.labels.len()], *fixture.labels, "{}", fixture.layout);
        let report = check(&manifest, folder.path(), |_, _| ()).unwrap();
        assert_eq!(report.splits[0].faults, [""; 0], "{}", fixture.layout);
    }
}

#[test]
fn every_file_that_a_layout_lacks_is_named_unless_it_is_a_second_label() {
    for fixture in fixtures() {
        let manifest = fixture.manifest();
        for (path, _) in &fixture.files {
            let folder = tempfile::tempdir().unwrap();
            fixture.write(folder.path());
            let path = folder.path().join(path);
            std::fs::remove_file(&path).unwrap();
            match Dataset::open(&manifest, folder.path(), "train") {
                Ok(dataset) => assert_eq!(dataset.files(0).nth(2), Some(path.as_path())),
                // A folder without images lists no samples.
                Err(Error::Count { found: 0, .. }) => {}
                Err(error) => assert!(error.to_string().contains(path.to_str().unwrap()), "{error}"),
            }
        }
        let missing = Dataset::open(&manifest, Path::new("/nowhere"), "train");
        let generated = manifest.layout.kind().is_generated();
        assert_eq!(matches!(missing, Err(Error::Missing { .. })), !generated, "{}", fixture.layout);
    }
}

#[test]
fn every_layout_has_the_name_that_manifests_write() {
    for (fixture, (name, _)) in fixtures().into_iter().zip(layouts()) {
        let manifest = fixture.manifest();
        assert_eq!(manifest.layout.name(), name);
        let text = serde_yaml::to_string(&manifest).unwrap();
        assert!(
            text.contains(&format!("layout: {name}\n")) || text.contains(&format!("  {name}:\n")),
            "{text}"
        );
        assert_eq!(Manifest::parse(&text, Path::new("m.yaml")).unwrap().layout, manifest.layout);
    }
}

#[test]
fn the_documentation_lists_every_layout_with_its_summary() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/data.md");
    let page = std::fs::read_to_string(page).unwrap();
    for (name, summary) in layouts() {
        let row = format!("| `{name}` | {summary} |");
        assert!(page.contains(&row), "docs/data.md lacks the row\n{row}");
    }
}
