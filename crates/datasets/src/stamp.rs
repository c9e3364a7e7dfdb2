//! Compares the contents of samples without decoding them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use rayon::prelude::*;
use robustseg_files::{Sha256, hexadecimal};

/// Image files up to this many bytes are hashed whole.
const WHOLE: u64 = 128 << 10;

/// Bytes per block read from a larger image file.
const BLOCK: u64 = 16 << 10;

/// The content of a sample's files. Paths and times do not enter it, so that a moved or copied
/// sample keeps its stamp.
///
/// A label is hashed whole, and so is every image file of up to 128 KiB. For a larger image file, the
/// stamp covers the length and 16 KiB at the head, in the middle and at the tail. The tail of a PNG
/// contains a checksum of all pixels, so another picture has another stamp. The stamp misses a
/// large JPEG that was patched between the blocks without a change of length, which no image editor
/// does.
///
/// The stamp of a generated sample covers everything that the sample is generated from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleStamp {
    /// The sample's id.
    pub id: String,
    /// Stamp of the image. If two samples have equal stamps, they have the same picture in the same
    /// file format.
    pub image: [u8; 32],
    /// SHA-256 of the label file.
    pub label: [u8; 32],
}

impl SampleStamp {
    /// The stamp of the sample `id` in the files `image` and `label`. A file that cannot be read
    /// gets a stamp that differs from that of any other file. Whether the fault matters is decided
    /// when the sample is loaded.
    pub(crate) fn of_files(id: &str, image: &Path, label: &Path) -> Self {
        let unreadable =
            |path: &Path| digest(&[b"unreadable", id.as_bytes(), path.as_os_str().as_encoded_bytes()]);
        Self {
            id: id.to_owned(),
            image: sampled(image).unwrap_or_else(|_| unreadable(image)),
            label: whole(label).unwrap_or_else(|_| unreadable(label)),
        }
    }

    /// The stamp of the generated sample `id`, which is determined by `origin`.
    pub(crate) fn of_generated(id: &str, origin: &str) -> Self {
        let stamp = |what: &[u8]| digest(&[b"generated", what, origin.as_bytes()]);
        Self { id: id.to_owned(), image: stamp(b"image"), label: stamp(b"label") }
    }
}

/// The stamps for indices up to `count` in order, computed on rayon's threads.
pub(crate) fn all(count: usize, stamp: impl Fn(usize) -> SampleStamp + Sync + Send) -> Vec<SampleStamp> {
    (0..count).into_par_iter().map(stamp).collect()
}

/// SHA-256 of the contents of samples in this order, as 64 hexadecimal digits. It covers a line
/// `IMAGE LABEL ID` per sample, where `IMAGE` and `LABEL` are its stamps in hexadecimal digits.
pub fn content_sha256<'a>(stamps: impl IntoIterator<Item = &'a SampleStamp>) -> String {
    let mut hash = Sha256::new();
    for SampleStamp { id, image, label } in stamps {
        hash.update(format!("{} {} {id}\n", hexadecimal(image), hexadecimal(label)));
    }
    hash.hexadecimal()
}

/// SHA-256 of the file at `path`.
fn whole(path: &Path) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.read(File::open(path)?)?;
    Ok(hash.bytes())
}

/// SHA-256 of the file at `path`. For a large file, of its length and three blocks.
fn sampled(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length <= WHOLE {
        return whole(path);
    }
    let mut hash = Sha256::new();
    hash.update(b"blocks");
    hash.update(length.to_le_bytes());
    for start in [0, (length - BLOCK) / 2, length - BLOCK] {
        file.seek(SeekFrom::Start(start))?;
        hash.read((&mut file).take(BLOCK))?;
    }
    Ok(hash.bytes())
}

/// SHA-256 of `parts`, each with its length.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_at_head_middle_or_tail_of_a_large_image_and_anywhere_in_a_label_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..WHOLE as usize + 999).map(|at| (at * 31 % 251) as u8).collect();
        let stamp = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            SampleStamp::of_files("a", &path, &path)
        };
        let before = stamp(&bytes);
        assert_eq!(stamp(&bytes), before);
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_ne!(stamp(&changed).image, before.image, "{at}");
        }
        for at in (0..bytes.len()).step_by(10_007) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_ne!(stamp(&changed).label, before.label, "{at}");
        }
        assert_ne!(stamp(&bytes[..bytes.len() - 1]).image, before.image);
        // Small image files are hashed whole.
        let small = &bytes[..WHOLE as usize];
        let before = stamp(small);
        for at in (0..small.len()).step_by(10_007) {
            let mut changed = small.to_vec();
            changed[at] ^= 1;
            assert_ne!(stamp(&changed).image, before.image, "{at}");
        }
    }

    #[test]
    fn files_that_cannot_be_read_are_like_no_other_file() {
        let stamp = |id: &str| SampleStamp::of_files(id, Path::new("/none/image"), Path::new("/none/label"));
        assert_eq!(stamp("a"), stamp("a"));
        assert_ne!(stamp("a").image, stamp("b").image);
        assert_ne!(stamp("a").label, stamp("b").label);
        assert_ne!(stamp("a").image, stamp("a").label);
    }

    #[test]
    fn content_depends_on_ids_stamps_and_order() {
        let stamp = |id: &str, origin: &str| SampleStamp::of_generated(id, origin);
        let of = |stamps: &[SampleStamp]| content_sha256(stamps);
        let base = of(&[stamp("a", "1"), stamp("b", "2")]);
        assert_eq!(base.len(), 64);
        for other in [
            [stamp("b", "2"), stamp("a", "1")],
            [stamp("a", "2"), stamp("b", "1")],
            [stamp("a", "1"), stamp("c", "2")],
        ] {
            assert_ne!(of(&other), base);
        }
    }
}
