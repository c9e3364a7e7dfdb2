//! The loader's promises about order, threads, resuming and errors.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;

use robustseg_datasets::{AugmentationConfig, Batch, Dataset, Loader, LoaderOptions};

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
    let augmentation = AugmentationConfig { crop: 24, ..Default::default() };
    LoaderOptions { batch_size, seed: 5, augmentation, fill: [0.5; 3], steps }
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
    // Without augmentation, a sample's place in its batch holds its own centre.
    let plain = AugmentationConfig { flip: false, scale: [1.0; 2], rotation: 0.0, blur: false, crop: 40 };
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

#[test]
fn an_error_takes_its_batchs_place_and_the_next_batch_still_comes() {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..6 {
        write_image(&folder.path().join(format!("{index}.png")), &image(30, 20));
        write_gray(&folder.path().join(format!("{index}_label.png")), &label(30, 20, |_, _| 0));
    }
    let list = [0, 1, 2, 3, 4, 5].map(|index| format!("{index}.png {index}_label.png\n")).concat();
    fs::write(folder.path().join("list.txt"), list).unwrap();
    let manifest = manifest(
        "name: pairs\nfolder: pairs\nlayout: pairs\nclasses: [{name: all, colour: [0, 0, 0]}]\n\
         splits:\n  train: {file: list.txt, count: 6}\ncitation: c\nlicence: l\nobtain: o\n",
    );
    let dataset = Dataset::open(&manifest, folder.path(), "train").unwrap();
    let whole = batches(&dataset, 2, 0..6);
    let broken = folder.path().join("3.png");
    let bytes = fs::read(&broken).unwrap();
    fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
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
    let augmentation = AugmentationConfig { crop: 0, ..Default::default() };
    assert!(message(LoaderOptions { augmentation, ..options(1, 0..1) }).contains("crop"));
}
