//! What label files hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::dataset::Dataset;
use crate::decode::{Ids, image_size, read_colours, read_ids};
use crate::error::Result;
use crate::manifest::Manifest;

/// More values or colours than this in one file make it a picture.
const MOST_IN_A_FILE: usize = 64;

/// More colours than this in all files have no meaning.
const MOST_COLOURS: usize = 255;

/// Label files that are read at most.
const MOST_READ: usize = 4000;

/// What a picture is as a label map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Gray values or palette indices.
    Values,
    /// Few colours.
    Colours,
    /// A photograph, a broken file, or none.
    NoLabels,
}

/// The kind of the file at `path`.
pub(super) fn kind_of(path: &Path) -> Kind {
    if let Ok(Ids { map, .. }) = read_ids(path) {
        let values = map.data.iter().fold([false; 256], |mut there, value| {
            there[usize::from(*value)] = true;
            there
        });
        let count = values.iter().filter(|there| **there).count();
        return if count <= MOST_IN_A_FILE { Kind::Values } else { Kind::NoLabels };
    }
    match read_colours(path) {
        Ok(image) if colours(&image.data).is_some_and(|found| found.len() <= MOST_IN_A_FILE) => Kind::Colours,
        _ => Kind::NoLabels,
    }
}

/// The colours of `pixels` with their numbers, unless they are those of a photograph.
fn colours(pixels: &[u8]) -> Option<BTreeMap<[u8; 3], u64>> {
    let mut found: BTreeMap<[u8; 3], u64> = BTreeMap::new();
    for pixel in pixels.chunks_exact(3) {
        *found.entry([pixel[0], pixel[1], pixel[2]]).or_default() += 1;
        if found.len() > MOST_COLOURS {
            return None;
        }
    }
    Some(found)
}

/// The pixels of each value or colour.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// By value. The palette is that of the first file that has one.
    Values {
        pixels: Vec<u64>,
        palette: Vec<[u8; 3]>,
    },
    Colours(BTreeMap<[u8; 3], u64>),
}

/// All label files together.
pub(super) struct Seen {
    pub(super) content: Content,
    /// Smallest height and smallest width of the images.
    pub(super) smallest: (usize, usize),
    largest: (usize, usize),
}

/// One sample: the size of its image and of its label map, and the map's content.
struct Found {
    image: Option<(usize, usize)>,
    label: Option<((usize, usize), Content)>,
}

/// The images and label maps of all splits, each once.
pub(super) fn files(manifest: &Manifest, root: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut files = Vec::new();
    for split in manifest.split_names() {
        let (dataset, _) = Dataset::find(manifest, root, split)?;
        for index in 0..dataset.len() {
            let mut paths = dataset.files(index).map(Path::to_owned);
            if let (Some(image), Some(label)) = (paths.next(), paths.next()) {
                files.push((image, label));
            }
        }
    }
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

/// Reads the label maps of `files`, or of a part of them that is spread evenly.
///
/// # Errors
/// The reason why they are no label maps.
pub(super) fn read(
    files: &[(PathBuf, PathBuf)],
    guesses: &mut Vec<String>,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Seen, String> {
    let step = files.len().div_ceil(MOST_READ).max(1);
    let taken: Vec<_> = files.iter().step_by(step).collect();
    if step > 1 {
        guesses.push(format!("{} of {} label files were read", taken.len(), files.len()));
    }
    let first = taken.iter().map(|(_, label)| kind_of(label)).take(5).min().unwrap_or(Kind::NoLabels);
    let done = AtomicUsize::new(0);
    let found: Vec<Found> = taken
        .par_iter()
        .map(|(image, label)| {
            let found = Found { image: image_size(image).ok(), label: content(label, first) };
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, taken.len());
            found
        })
        .collect();
    tell_faults(&taken, &found, guesses);
    let sizes: Vec<(usize, usize)> = found.iter().filter_map(|found| found.image).collect();
    let contents = found.into_iter().filter_map(|found| Some(found.label?.1));
    let content = contents.reduce(together).ok_or_else(|| {
        let file = taken.first().map_or_else(String::new, |(_, label)| label.display().to_string());
        format!("the label files, such as {file}, are no PNGs of gray values, palette indices or few colours")
    })?;
    if let Content::Colours(colours) = &content
        && colours.len() > MOST_COLOURS
    {
        return Err(format!(
            "the label files have more than {MOST_COLOURS} colours; were they drawn with soft edges?"
        ));
    }
    let side = |pick: fn(&(usize, usize)) -> usize| sizes.iter().map(pick).collect::<Vec<_>>();
    let (widths, heights) = (side(|size| size.0), side(|size| size.1));
    let ends = |sides: &[usize]| {
        (sides.iter().copied().min().unwrap_or(0), sides.iter().copied().max().unwrap_or(0))
    };
    let (width, height) = (ends(&widths), ends(&heights));
    Ok(Seen { content, smallest: (height.0, width.0), largest: (height.1, width.1) })
}

impl Seen {
    /// The sizes of the images in words.
    pub(super) fn sizes(&self) -> String {
        let ((low, narrow), (high, wide)) = (self.smallest, self.largest);
        if (low, narrow) == (high, wide) {
            format!("all images have {wide}x{high} pixels")
        } else {
            format!("images from {narrow}x{low} to {wide}x{high} pixels")
        }
    }
}

/// Size and content of the label map at `path`.
fn content(path: &Path, kind: Kind) -> Option<((usize, usize), Content)> {
    if kind == Kind::Values {
        let Ids { map, palette } = read_ids(path).ok()?;
        let mut pixels = vec![0; 256];
        for value in &map.data {
            pixels[usize::from(*value)] += 1;
        }
        let palette = palette.chunks_exact(3).map(|colour| [colour[0], colour[1], colour[2]]).collect();
        return Some(((map.width, map.height), Content::Values { pixels, palette }));
    }
    let image = read_colours(path).ok()?;
    Some(((image.width, image.height), Content::Colours(colours(&image.data)?)))
}

fn together(one: Content, other: Content) -> Content {
    match (one, other) {
        (Content::Values { mut pixels, palette }, Content::Values { pixels: more, palette: second }) => {
            pixels.iter_mut().zip(more).for_each(|(pixels, more)| *pixels += more);
            Content::Values { pixels, palette: if palette.is_empty() { second } else { palette } }
        }
        (Content::Colours(mut colours), Content::Colours(more)) => {
            for (colour, count) in more {
                *colours.entry(colour).or_default() += count;
            }
            Content::Colours(colours)
        }
        (one, _) => one,
    }
}

/// Says which files cannot be read, and which label maps have another size than their images.
fn tell_faults(files: &[&(PathBuf, PathBuf)], found: &[Found], guesses: &mut Vec<String>) {
    let mut tell = |what: &str, is: fn(&Found) -> bool, label: bool| {
        let mut faulty = files.iter().zip(found).filter(|(_, found)| is(found));
        if let Some(((image, map), _)) = faulty.next() {
            let (count, path) = (1 + faulty.count(), if label { map } else { image });
            guesses.push(format!("{what}: {count} of {}, such as {}", files.len(), path.display()));
        }
    };
    tell("images that cannot be read", |found| found.image.is_none(), false);
    tell("label files that cannot be read alike", |found| found.label.is_none(), true);
    let differs = |found: &Found| matches!(found, Found { image: Some(image), label: Some((label, _)) } if image != label);
    tell("label maps of another size than their images", differs, true);
}
