//! The loader's promises about order, threads, resuming and errors.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;

use robustseg_datasets::{AugmentationConfig, Batch, Dataset, Loader, LoaderOptions, OnBadSample};

use crate::common::{image, label, manifest, write_gray, write_image};

fn scenes(count: usize) -> Dataset {
    let manifest = manifest(&format!(
        "name: scenes\nfolder: scenes\nlayout:\n  synthetic: {{height: 40, width: 56, seed: 3}}\nclasses:\n\
         - {{name: ground, colour: [0, 0, 0]}}\n- {{name: brick, colour: [9, 9, 9]}}\n\
         splits:\n  train: {{count: {count}}}\ncitation: c\nlicence: l\nobtain: o\n"
    ));
    Dataset::open(&manifest, "".as_ref(), "train").unwrap()
}

fn options(batch_size: usize, steps: Range<u64>) -> LoaderOptions {
    let augmentation = AugmentationConfig { crop: 24.into(), ..Default::default() };
    LoaderOptions {
        batch_size,
        seed: 5,
        augmentation,
        fill: [0.5; 3],
        steps,
        on_bad_sample: OnBadSample::Fail,
    }
}

fn batches(dataset: &Dataset, batch_size: usize, steps: Range<u64>) -> Vec<Batch> {
    Loader::new(dataset, options(batch_size, steps)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn each_epoch_gives_every_sample_at_most_once_and_only_a_partial_batch_is_left_out() {
    for (count, batch_size) in [(11, 4), (12, 4), (7, 1), (5, 5)] {
        let dataset = scenes(count);
        let steps = (count / batch_size) as u64;
        let loader = Loader::new(&dataset, options(batch_size, 0..1)).unwrap();
        assert_eq!(loader.steps_per_epoch(), steps);
        let all = batches(&dataset, batch_size, 0..3 * steps);
        let orders: Vec<Vec<&String>> = all
            .chunks_exact(steps as usize)
            .map(|epoch| epoch.iter().flat_map(|batch| &batch.ids).collect())
            .collect();
        for order in &orders {
            let distinct: BTreeSet<_> = order.iter().collect();
            assert_eq!((order.len(), distinct.len()), (steps as usize * batch_size, order.len()));
        }
        assert!(orders[0] != orders[1] && orders[1] != orders[2], "{orders:?}");
    }
}

#[test]
fn a_batch_holds_what_its_ids_and_shapes_say() {
    let dataset = scenes(6);
    for batch in batches(&dataset, 3, 0..4) {
        assert_eq!((batch.height, batch.width, batch.ids.len()), (24, 24, 3));
        assert_eq!((batch.images.len(), batch.labels.len()), (3 * 3 * 24 * 24, 3 * 24 * 24));
        assert!(batch.labels.iter().all(|label| [0, 1, 255].contains(label)));
    }
    // Without augmentation, each sample in a batch is its own centre crop.
    let plain = AugmentationConfig {
        flip: false,
        scale: [1.0; 2],
        rotation: 0.0,
        blur: false,
        crop: 40.into(),
        ..Default::default()
    };
    let options = LoaderOptions { augmentation: plain, ..options(3, 0..2) };
    for batch in Loader::new(&dataset, options).unwrap().map(Result::unwrap) {
        for (id, labels) in batch.ids.iter().zip(batch.labels.chunks_exact(40 * 40)) {
            let index = (0..6).find(|index| dataset.id(*index) == id).unwrap();
            let whole = dataset.load(index).unwrap().label;
            let row = &whole.data[..whole.width];
            assert!(row.windows(40).any(|window| window == &labels[..40]), "{id}");
        }
    }
}

#[test]
fn batches_do_not_depend_on_the_number_of_threads() {
    let dataset = scenes(11);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| batches(&dataset, 4, 0..7))
    };
    let bits = |batches: Vec<Batch>| -> Vec<(Vec<String>, Vec<u32>, Vec<u8>)> {
        let bits =
            |batch: Batch| (batch.ids, batch.images.iter().map(|v| v.to_bits()).collect(), batch.labels);
        batches.into_iter().map(bits).collect()
    };
    assert!(bits(with(1)) == bits(with(3)));
}

#[test]
fn a_loader_that_starts_at_any_step_gives_what_one_that_came_there_gives() {
    let dataset = scenes(11);
    let all = batches(&dataset, 4, 0..7);
    for start in 0..7 {
        assert!(batches(&dataset, 4, start..7) == all[start as usize..], "{start}");
    }
}

#[test]
fn a_seed_decides_order_and_augmentation() {
    let dataset = scenes(12);
    let other = LoaderOptions { seed: 6, ..options(4, 0..3) };
    let other: Vec<Batch> = Loader::new(&dataset, other).unwrap().map(Result::unwrap).collect();
    let ids = |batches: &[Batch]| -> Vec<_> { batches.iter().flat_map(|batch| batch.ids.clone()).collect() };
    assert_ne!(ids(&batches(&dataset, 4, 0..3)), ids(&other));
}

/// A dataset of `count` images in `folder`: 0.png and so on.
fn files(folder: &std::path::Path, count: usize) -> Dataset {
    let mut list = String::new();
    for index in 0..count {
        write_image(&folder.join(format!("{index}.png")), &image(30 + index % 7, 20));
        write_gray(&folder.join(format!("{index}_label.png")), &label(30 + index % 7, 20, |_, _| 0));
        list += &format!("{index}.png {index}_label.png\n");
    }
    fs::write(folder.join("list.txt"), list).unwrap();
    let manifest = manifest(&format!(
        "name: pairs\nfolder: pairs\nlayout: pairs\nclasses: [{{name: all, colour: [0, 0, 0]}}, {{name: other, colour: [1, 1, 1]}}]\n\
         splits:\n  train: {{file: list.txt, count: {count}}}\ncitation: c\nlicence: l\nobtain: o\n",
    ));
    Dataset::open(&manifest, folder, "train").unwrap()
}

/// Cuts the file `name` in half.
fn cut(folder: &std::path::Path, name: &str) {
    let path = folder.join(name);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn an_error_takes_its_batchs_place_and_the_next_batch_still_comes() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = files(folder.path(), 6);
    let whole = batches(&dataset, 2, 0..6);
    let broken = folder.path().join("3.png");
    cut(folder.path(), "3.png");
    let found: Vec<_> = Loader::new(&dataset, options(2, 0..6)).unwrap().collect();
    assert_eq!(found.len(), 6);
    for (found, whole) in found.iter().zip(&whole) {
        if whole.ids.contains(&"3".to_owned()) {
            let error = found.as_ref().unwrap_err().to_string();
            assert!(error.contains(broken.to_str().unwrap()), "{error}");
        } else {
            assert!(found.as_ref().unwrap() == whole);
        }
    }
    assert_eq!(found.iter().filter(|batch| batch.is_err()).count(), 2);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let message = |options| Loader::new(&scenes(3), options).err().unwrap().to_string();
    assert!(message(options(0, 0..1)).contains("batch_size"));
    assert!(message(options(4, 0..1)).contains("3 samples do not fill one batch of 4"));
    let augmentation = AugmentationConfig { crop: 0.into(), ..Default::default() };
    assert!(message(LoaderOptions { augmentation, ..options(1, 0..1) }).contains("crop"));
}

/// The batches from `start` to `end` with bad samples skipped, and the ids of these samples.
fn skipping(dataset: &Dataset, steps: Range<u64>) -> (Vec<Batch>, Vec<String>) {
    let options = LoaderOptions { on_bad_sample: OnBadSample::Skip, ..options(4, steps) };
    let mut loader = Loader::new(dataset, options).unwrap();
    let batches = loader.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
    let skipped = loader.take_skipped();
    assert!(loader.take_skipped().is_empty(), "each is told once");
    (batches, skipped.into_iter().map(|sample| sample.id).collect())
}

#[test]
fn skipped_samples_are_reported_and_replaced_and_nothing_else_changes() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = files(folder.path(), 250);
    // Two epochs of 62 steps.
    let (whole, none) = skipping(&dataset, 0..124);
    assert!(none.is_empty());
    cut(folder.path(), "7.png");
    fs::remove_file(folder.path().join("8_label.png")).unwrap();
    let (found, mut skipped) = skipping(&dataset, 0..124);
    skipped.sort();
    assert_eq!(skipped, ["7", "8"]);
    let mut replaced = 0;
    for (found, whole) in found.iter().zip(&whole) {
        for (place, (id, before)) in found.ids.iter().zip(&whole.ids).enumerate() {
            let area = 24 * 24;
            if ["7", "8"].contains(&before.as_str()) {
                // 9 is the next intact sample for both 7 and 8.
                assert_eq!(id, "9");
                replaced += 1;
            } else {
                assert_eq!(id, before);
                let pixels = |batch: &Batch| batch.images[place * 3 * area..][..3 * area].to_vec();
                assert!(pixels(found) == pixels(whole));
            }
        }
    }
    assert!((3..=4).contains(&replaced), "{replaced}: an epoch leaves two samples out");
    // Starting in the middle of an epoch, with any number of threads.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert!(pool.install(|| skipping(&dataset, 31..124)).0 == found[31..]);

    let message = |options| {
        let mut loader = Loader::new(&dataset, options).unwrap();
        loader.find_map(Result::err).unwrap().to_string()
    };
    assert!(message(options(4, 0..124)).contains("7.png") || message(options(4, 0..124)).contains("8_label"));
    cut(folder.path(), "100.png");
    let skip = LoaderOptions { on_bad_sample: OnBadSample::Skip, ..options(4, 0..124) };
    let message = message(skip);
    for part in ["3 of 250 samples are broken, 2 may be skipped", "7.png", "8_label.png", "100.png"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn neighbours_that_are_all_bad_are_listed_together() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = files(folder.path(), 4);
    cut(folder.path(), "1.png");
    cut(folder.path(), "2.png");
    let skip = LoaderOptions { on_bad_sample: OnBadSample::Skip, ..options(4, 0..1) };
    let error = Loader::new(&dataset, skip).unwrap().next().unwrap().unwrap_err().to_string();
    for part in ["2 of 4 samples are broken, 1 may be skipped", "1.png", "2.png"] {
        assert!(error.contains(part), "{error}");
    }
}
