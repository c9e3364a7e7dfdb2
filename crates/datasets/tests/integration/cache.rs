//! Packs contain the same samples, and never those of other or older files.

use std::fs;
use std::path::Path;

use robustseg_datasets::{
    AugmentationConfig, Dataset, Error, Loader, LoaderOptions, Manifest, OnBadSample, Prepared, prepare,
};

use crate::common::{image, label, manifest, write_gray, write_image};

/// A dataset with images of three sizes in a folder.
struct Tree {
    folder: tempfile::TempDir,
    manifest: Manifest,
}

impl Tree {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (index, (width, height)) in [(40, 30), (25, 60), (9, 9)].into_iter().enumerate() {
            write_image(&folder.path().join(format!("{index}.png")), &image(width, height));
            let label = label(width, height, |x, y| [0, 1, 7][(x + y) % 3]);
            write_gray(&folder.path().join(format!("{index}_label.png")), &label);
        }
        let list = "0.png 0_label.png\n1.png 1_label.png\n2.png 2_label.png\n";
        fs::write(folder.path().join("list.txt"), list).unwrap();
        let manifest = manifest(
            "name: a\nfolder: a\nlayout: pairs\nclasses: [{name: x, colour: [0, 0, 0]}, {name: y, colour: [1, 1, 1]}]\n\
             ignored: [7]\nsplits:\n  train: {file: list.txt, count: 3}\ncitation: c\nlicence: l\nobtain: o\n",
        );
        Self { folder, manifest }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn cache(&self) -> std::path::PathBuf {
        self.root().join("cache")
    }

    fn prepare(&self) -> Result<Prepared, Error> {
        prepare(&self.manifest, self.root(), "train", &self.cache(), |_, _| ()).map(|(prepared, _)| prepared)
    }

    fn open(&self) -> Dataset {
        Dataset::open(&self.manifest, self.root(), "train").unwrap()
    }

    fn cached(&self) -> Result<Dataset, Error> {
        self.open().with_cache(&self.cache(), &self.manifest)
    }

    /// Why the pack is refused.
    fn refusal(&self) -> String {
        self.cached().unwrap_err().to_string()
    }
}

#[test]
fn samples_and_batches_from_a_cache_are_those_of_the_files() {
    let tree = Tree::new();
    assert_eq!(tree.prepare().unwrap(), Prepared::Built(None));
    assert_eq!(tree.prepare().unwrap(), Prepared::UpToDate);
    let (files, cached) = (tree.open(), tree.cached().unwrap());
    for index in 0..3 {
        assert_eq!(cached.load(index).unwrap(), files.load(index).unwrap());
    }
    let batches = |dataset: &Dataset| {
        let augmentation = AugmentationConfig { crop: 20.into(), ..Default::default() };
        let options = LoaderOptions {
            batch_size: 3,
            seed: 1,
            augmentation,
            fill: [0.5; 3],
            steps: 0..20,
            on_bad_sample: OnBadSample::Fail,
        };
        Loader::new(dataset, options).unwrap().collect::<Result<Vec<_>, _>>().unwrap()
    };
    assert!(batches(&files) == batches(&cached));
    assert_eq!(fs::read_dir(tree.cache()).unwrap().count(), 1, "nothing is left next to the pack");
}

#[test]
fn generated_scenes_can_be_packed_too() {
    let manifest = crate::common::project_manifest("synthetic");
    let folder = tempfile::tempdir().unwrap();
    prepare(&manifest, "".as_ref(), "val", folder.path(), |_, _| ()).unwrap();
    let scenes = Dataset::open(&manifest, "".as_ref(), "val").unwrap();
    let cached = scenes.with_cache(folder.path(), &manifest).unwrap();
    assert_eq!(cached.load(1).unwrap(), scenes.load(1).unwrap());
}

#[test]
fn a_cache_of_changed_files_or_of_another_manifest_is_refused_and_made_again() {
    let mut tree = Tree::new();
    assert!(tree.refusal().contains("train.pack: cannot be opened"), "{}", tree.refusal());
    assert!(tree.refusal().contains("run `robustseg data prepare --out"), "{}", tree.refusal());
    tree.prepare().unwrap();
    write_gray(&tree.root().join("1_label.png"), &label(25, 60, |_, _| 1));
    assert!(tree.refusal().contains("is older than the files of sample 1"), "{}", tree.refusal());
    assert!(matches!(tree.prepare().unwrap(), Prepared::Built(Some(reason)) if reason.contains("older")));
    assert!(tree.cached().unwrap().load(1).unwrap().label.data.iter().all(|label| *label == 1));

    // The ignored value now belongs to a class.
    tree.manifest = manifest(&more_classes(&tree.root().join("list.txt")));
    assert!(tree.refusal().contains("is of another manifest"), "{}", tree.refusal());
    assert!(matches!(tree.prepare().unwrap(), Prepared::Built(Some(_))));
    assert!(tree.cached().is_ok());
}

/// A manifest for the same files with more classes.
fn more_classes(list: &Path) -> String {
    let classes: Vec<String> = (0..8).map(|n| format!("{{name: c{n}, colour: [0, 0, 0]}}")).collect();
    format!(
        "name: a\nfolder: a\nlayout: pairs\nclasses: [{}]\nsplits:\n  train: {{file: {}, count: 3}}\n\
         citation: c\nlicence: l\nobtain: o\n",
        classes.join(", "),
        list.file_name().unwrap().to_str().unwrap()
    )
}

#[test]
fn damage_is_noticed_and_repaired() {
    let tree = Tree::new();
    tree.prepare().unwrap();
    let pack = tree.cache().join("train.pack");
    let whole = fs::read(&pack).unwrap();
    let mut damaged = whole.clone();
    // Within the colours of the first sample, which begins after the eight bytes of the magic.
    damaged[8 + 100] ^= 1;
    fs::write(&pack, &damaged).unwrap();
    let error = tree.cached().unwrap().load(0).unwrap_err().to_string();
    assert!(error.contains("train.pack: sample 0 is damaged"), "{error}");
    assert!(tree.cached().unwrap().load(1).is_ok());
    assert!(tree.cached().unwrap().check().unwrap_err().to_string().contains("1 of 3 samples"));
    assert!(matches!(tree.prepare().unwrap(), Prepared::Built(Some(reason)) if reason.contains("damaged")));
    assert!(fs::read(&pack).unwrap() == whole);

    // The crop also detects a label that is not a class.
    let mut damaged = whole.clone();
    damaged[8 + 40 * 30 * 3..][..40 * 30].fill(3);
    fs::write(&pack, &damaged).unwrap();
    let centre = robustseg_datasets::AugmentationParameters::identity(8);
    let error = tree.cached().unwrap().load_crop(0, &centre, [0.0; 3]).unwrap_err().to_string();
    assert!(error.contains("labels that are no classes"), "{error}");

    fs::write(&pack, &whole[..whole.len() / 2]).unwrap();
    assert!(tree.refusal().contains("is no pack, or its end is missing"), "{}", tree.refusal());
}

#[test]
fn a_build_that_fails_or_was_interrupted_leaves_no_pack() {
    let tree = Tree::new();
    let names = || -> Vec<String> {
        let entries = fs::read_dir(tree.cache()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let broken = tree.root().join("2.png");
    let bytes = fs::read(&broken).unwrap();
    fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let error = tree.prepare().unwrap_err().to_string();
    assert!(error.contains(broken.to_str().unwrap()), "{error}");
    assert_eq!(names(), [""; 0]);

    // The leftover of a killed process, longer than the new content.
    fs::write(&broken, bytes).unwrap();
    fs::write(tree.cache().join("train.pack.part"), vec![1; 1 << 20]).unwrap();
    assert!(tree.refusal().contains("cannot be opened"), "{}", tree.refusal());
    assert_eq!(tree.prepare().unwrap(), Prepared::Built(None));
    assert_eq!(names(), ["train.pack"]);
    assert_eq!(tree.prepare().unwrap(), Prepared::UpToDate);

    // Another process holds the lock.
    fs::remove_file(tree.cache().join("train.pack")).unwrap();
    let part = fs::File::create(tree.cache().join("train.pack.part")).unwrap();
    part.lock().unwrap();
    assert!(tree.prepare().unwrap_err().to_string().contains("another process is making it"));
    assert_eq!(names(), ["train.pack.part"]);
}
