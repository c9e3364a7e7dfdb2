//! Verifies a dataset: every file of every split.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use robustseg_files::{Sha256, sha256, sha256_of};
use serde::{Deserialize, Serialize};

use crate::fault_kind::{FaultKind, kinds};
use crate::prefetch::guarded;
use crate::shared::Shared;
use crate::{Dataset, Error, IGNORE_LABEL, Image, Manifest, Result, Sample};

/// The content of a dataset's folder compared with its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The dataset's name.
    pub name: String,
    /// Its splits, in alphabetical order.
    pub splits: Vec<SplitReport>,
    /// Pairs of splits that share images.
    pub overlaps: Vec<Overlap>,
}

/// The content of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitReport {
    /// The split's name.
    pub split: String,
    /// Number of samples according to the manifest.
    pub expected: usize,
    /// Number of samples found.
    pub count: usize,
    /// SHA-256 of the sorted ids, one per line, in hexadecimal digits. A file with the sorted ids
    /// has the same hash.
    pub ids_sha256: String,
    /// SHA-256 of all files' contents. It covers a line `IMAGE LABEL ID` per sample, sorted by id,
    /// where `IMAGE` and `LABEL` are the SHA-256 of its files. `None` for generated samples and if
    /// a sample is broken.
    pub files_sha256: Option<String>,
    /// Smallest width and smallest height of the images. `None` if no image can be read.
    pub min_size: Option<(usize, usize)>,
    /// Largest width and largest height of the images. `None` if no image can be read.
    pub max_size: Option<(usize, usize)>,
    /// Labelled pixels of each class.
    pub class_pixels: Vec<u64>,
    /// Pixels that are not labelled.
    pub ignored_pixels: u64,
    /// Images that their EXIF orientation rotates or mirrors.
    #[serde(default)]
    pub turned_images: usize,
    /// Reasons to distrust scores on this split although no file has a fault, one sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// All faults.
    pub faults: Vec<String>,
    /// The faults by kind, each kind once.
    pub fault_kinds: Vec<FaultKind>,
    /// A hash of each sample's pixels, independent of the file. For broken samples, a hash of the
    /// file's path.
    #[serde(skip)]
    pictures: Vec<(String, [u8; 32])>,
}

/// Two splits that share images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlap {
    /// One split.
    pub first: String,
    /// The other.
    pub second: String,
    /// How many images of the second split are also in the first, under any name.
    pub count: usize,
    /// Ids of the first few, in the first and the second split.
    #[serde(default)]
    pub examples: Vec<(String, String)>,
    /// Whether the manifest allows them to share samples.
    pub allowed: bool,
}

impl CheckReport {
    /// Whether counts are right, all files are intact, and splits share only what the manifest
    /// allows.
    pub fn is_sound(&self) -> bool {
        self.splits.iter().all(|split| split.faults.is_empty()) && self.overlaps.iter().all(|o| o.allowed)
    }
}

/// Reads every image and label of every split of a dataset in the folder `root`. `progress`
/// receives the number of samples read and their total.
///
/// # Errors
/// If the dataset or one of its lists is missing or malformed. The report contains all other
/// faults.
pub fn check(
    manifest: &Manifest,
    root: &Path,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<CheckReport> {
    let found: Vec<_> =
        manifest.split_names().map(|split| Dataset::find(manifest, root, split)).collect::<Result<_>>()?;
    let (done, total) = (AtomicUsize::new(0), found.iter().map(|(dataset, _)| dataset.len()).sum());
    let mut splits = Vec::new();
    for (dataset, expected) in &found {
        let list = dataset.verify_list(expected);
        let mut report = dataset.report(list, || progress(done.fetch_add(1, Ordering::Relaxed) + 1, total));
        report.expected = expected.count.unwrap_or(report.count);
        splits.push(report);
    }
    let overlaps = overlaps(manifest, &splits);
    Ok(CheckReport { name: manifest.name.clone(), splits, overlaps })
}

/// The pairs of splits with common pictures, from fresh reports.
pub fn overlaps(manifest: &Manifest, splits: &[SplitReport]) -> Vec<Overlap> {
    let mut overlaps = Vec::new();
    for (index, first) in splits.iter().enumerate() {
        for second in &splits[index + 1..] {
            let shared = Shared::of(&first.pictures, &second.pictures);
            overlaps.extend(shared.map(|Shared { count, examples }| Overlap {
                first: first.split.clone(),
                second: second.split.clone(),
                count,
                examples,
                allowed: manifest.may_overlap(&first.split, &second.split),
            }));
        }
    }
    overlaps
}

impl Dataset {
    /// Reads every sample and reports the content of the split.
    ///
    /// # Errors
    /// [`Error::Faults`] with all faults.
    pub fn check(&self) -> Result<SplitReport> {
        let mut report = self.inspect(|| ());
        let faults = std::mem::take(&mut report.faults);
        if faults.is_empty() {
            return Ok(report);
        }
        let (name, split) = (self.name().to_owned(), self.split().to_owned());
        Err(Error::Faults { name, split, samples: self.len(), faults })
    }

    fn ids(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|index| self.id(index))
    }

    /// Reads every sample and reports the content of the split and all its faults. `progress` is
    /// called after each sample, from rayon's threads.
    pub fn inspect(&self, progress: impl Fn() + Sync) -> SplitReport {
        self.report(Ok(()), progress)
    }

    /// Like [`Dataset::inspect`], with the result of verifying the list.
    fn report(&self, list: Result<()>, progress: impl Fn() + Sync) -> SplitReport {
        let seen: Vec<Result<Seen>> = (0..self.len())
            .into_par_iter()
            .map(|index| {
                let seen = guarded(self.id(index), || {
                    let sample = self.load(index)?;
                    self.cross_check(index, &sample)?;
                    let (sha256, turned) = (self.sample_sha256(index)?, self.is_turned(index));
                    Ok(Seen { sha256, turned, ..Seen::of(&sample) })
                });
                progress();
                seen
            })
            .collect();
        let mut pixels = [0; 256];
        let (mut min_size, mut max_size) = (None, None);
        let mut faults: Vec<Error> = list.err().into_iter().collect();
        let mut hashes = Vec::new();
        let (mut pictures, mut turned_images) = (Vec::new(), 0);
        for (index, seen) in seen.into_iter().enumerate() {
            match seen {
                Ok(Seen { size: (width, height), counts, sha256, picture, turned }) => {
                    pictures.push((self.id(index).to_owned(), picture));
                    turned_images += usize::from(turned);
                    let (w, h) = min_size.unwrap_or((width, height));
                    min_size = Some((width.min(w), height.min(h)));
                    let (w, h) = max_size.unwrap_or((width, height));
                    max_size = Some((width.max(w), height.max(h)));
                    pixels.iter_mut().zip(counts.iter()).for_each(|(sum, count)| *sum += count);
                    hashes.extend(sha256.map(|hashes| (self.id(index), hashes)));
                }
                Err(error) => {
                    // The pixels of a broken file are unknown, but the same file in another split
                    // has the same path.
                    let image = self.files(index).next();
                    pictures.extend(image.map(|image| (self.id(index).to_owned(), picture_of_path(image))));
                    faults.push(error);
                }
            }
        }
        hashes.sort_unstable();
        let lines: String = hashes.iter().flat_map(|(id, hashes)| [hashes, " ", id, "\n"]).collect();
        SplitReport {
            split: self.split().to_owned(),
            expected: self.len(),
            count: self.len(),
            ids_sha256: self.ids_sha256(),
            files_sha256: (hashes.len() == self.len()).then(|| sha256(lines)),
            min_size,
            max_size,
            class_pixels: pixels[..self.num_classes()].to_vec(),
            ignored_pixels: pixels[usize::from(IGNORE_LABEL)],
            turned_images,
            // If no sample can be read, the faults say enough.
            warnings: if min_size.is_some() {
                self.warnings_of(&pixels.map(|count| count > 0), turned_images)
            } else {
                Vec::new()
            },
            fault_kinds: kinds(&faults),
            faults: faults.iter().map(ToString::to_string).collect(),
            pictures,
        }
    }

    /// SHA-256 of a sample's image and label files. `None` if the sample is generated.
    fn sample_sha256(&self, index: usize) -> Result<Option<String>> {
        let files: Vec<&Path> = self.files(index).take(2).collect();
        match files[..] {
            [image, label] => Ok(Some(format!("{} {}", file_sha256(image)?, file_sha256(label)?))),
            _ => Ok(None),
        }
    }

    /// SHA-256 of the sorted ids, one per line, in hexadecimal digits. A file with the sorted ids
    /// has the same hash.
    pub fn ids_sha256(&self) -> String {
        let mut ids: Vec<&str> = self.ids().collect();
        ids.sort_unstable();
        let lines: String = ids.into_iter().flat_map(|id| [id, "\n"]).collect();
        sha256(lines)
    }
}

/// Replaces the hash of the pixels if a file cannot be read.
fn picture_of_path(image: &Path) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"the file ");
    hash.update(image.as_os_str().as_encoded_bytes());
    hash.bytes()
}

/// SHA-256 of a file's content, in hexadecimal digits.
fn file_sha256(path: &Path) -> Result<String> {
    sha256_of(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// What a check keeps of a sample.
struct Seen {
    size: (usize, usize),
    counts: Box<[u64; 256]>,
    /// The SHA-256 of its files.
    sha256: Option<String>,
    /// SHA-256 of its image's size and pixels.
    picture: [u8; 32],
    /// Whether EXIF rotates or mirrors its image.
    turned: bool,
}

impl Seen {
    fn of(sample: &Sample) -> Self {
        let mut counts = Box::new([0; 256]);
        for value in &sample.label.data {
            counts[usize::from(*value)] += 1;
        }
        let Image { width, height, data } = &sample.image;
        let mut picture = Sha256::new();
        picture.update(format!("{width}x{height}"));
        picture.update(data);
        let picture = picture.bytes();
        Self { size: (*width, *height), counts, sha256: None, picture, turned: false }
    }
}
