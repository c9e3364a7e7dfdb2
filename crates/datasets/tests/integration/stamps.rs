//! Content stamps depend on the contents of files and nothing else.

use std::fs;
use std::path::Path;

use robustseg_datasets::{Dataset, Manifest, prepare};

use crate::common::{image, label, manifest, project_manifest, write_gray, write_image};

/// A dataset of two samples in `root`.
fn tree(root: &Path) -> Manifest {
    for (id, width) in [("a", 40), ("b", 41)] {
        write_image(&root.join(format!("{id}.png")), &image(width, 30));
        write_gray(&root.join(format!("{id}_label.png")), &label(width, 30, |x, y| ((x + y) % 2) as u8));
    }
    fs::write(root.join("list.txt"), "a.png a_label.png\nb.png b_label.png\n").unwrap();
    manifest(
        "name: a\nfolder: a\nlayout: pairs\nclasses: [{name: x, colour: [0, 0, 0]}, {name: y, colour: [1, 1, 1]}]\n\
         splits:\n  train: {file: list.txt, count: 2}\ncitation: c\nlicence: l\nobtain: o\n",
    )
}

fn open(manifest: &Manifest, root: &Path) -> Dataset {
    Dataset::open(manifest, root, "train").unwrap()
}

#[test]
fn a_copied_folder_has_the_same_stamps_and_its_pack_still_holds() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
    fs::create_dir_all(&old).unwrap();
    let manifest = tree(&old);
    let packs = folder.path().join("packs");
    prepare(&manifest, &old, "train", &packs, |_, _| ()).unwrap();
    let before = open(&manifest, &old);
    assert_eq!(before.stamps().iter().map(|stamp| stamp.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);

    fs::create_dir(&new).unwrap();
    for entry in fs::read_dir(&old).unwrap() {
        let entry = entry.unwrap();
        let bytes = fs::read(entry.path()).unwrap();
        fs::write(new.join(entry.file_name()), bytes).unwrap();
    }
    fs::remove_dir_all(&old).unwrap();
    let list = fs::read_to_string(new.join("list.txt")).unwrap();
    fs::write(new.join("list.txt"), list.replace('\n', "\r\n")).unwrap();
    let after = open(&manifest, &new);
    assert_eq!(after.stamps(), before.stamps());
    assert_eq!(after.content_sha256(), before.content_sha256());
    let packed = after.with_cache(&packs, &manifest).unwrap();
    assert_eq!(packed.stamps(), before.stamps());
}

#[test]
fn a_label_changed_in_place_with_its_length_and_time_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let manifest = tree(root);
    let packs = root.join("packs");
    prepare(&manifest, root, "train", &packs, |_, _| ()).unwrap();
    let before = open(&manifest, root);
    let hash = before.content_sha256();

    let path = root.join("b_label.png");
    let (length, time) = {
        let metadata = fs::metadata(&path).unwrap();
        (metadata.len(), metadata.modified().unwrap())
    };
    write_gray(&path, &label(41, 30, |x, y| ((x + y + 1) % 2) as u8));
    assert_eq!(fs::metadata(&path).unwrap().len(), length, "the test needs a file of the same length");
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();

    let after = open(&manifest, root);
    assert_ne!(after.content_sha256(), hash);
    assert_eq!(after.stamps()[0], before.stamps()[0]);
    assert_eq!(after.stamps()[1].image, before.stamps()[1].image);
    assert_ne!(after.stamps()[1].label, before.stamps()[1].label);
    let refusal = after.with_cache(&packs, &manifest).unwrap_err().to_string();
    assert!(refusal.contains("is older than the files of sample b"), "{refusal}");
}

#[test]
fn generated_samples_are_stamped_by_what_generates_them() {
    let mut manifest = project_manifest("synthetic");
    let of = |manifest: &Manifest, split: &str| {
        Dataset::open(manifest, "".as_ref(), split).unwrap().stamps().to_vec()
    };
    let (train, val) = (of(&manifest, "train"), of(&manifest, "val"));
    assert_eq!(train, of(&manifest, "train"));
    assert_ne!(train[0].image, train[1].image);
    assert!(val.iter().all(|stamp| train.iter().all(|other| other.image != stamp.image)));
    if let robustseg_datasets::Layout::Synthetic(config) = &mut manifest.layout {
        config.seed += 1;
    }
    assert_ne!(train[0].image, of(&manifest, "train")[0].image);
}
