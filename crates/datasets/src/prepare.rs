//! Makes and verifies packs.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, Write};
use std::path::Path;

use rayon::prelude::*;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::pack::index::{Entry, Index, MAGIC};
use crate::pack::{PART, Pack, checksum, origin, path};

/// How a split's pack became valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// The pack existed, and all its checksums are right.
    UpToDate,
    /// The pack was made. The text says why an existing one could not be used.
    Built(Option<String>),
}

/// Makes the pack of `split` of a dataset in the folder `root`, in the folder `out`. If there is a
/// valid pack, verifies all its checksums instead. `progress` receives the number of samples done
/// and their total. Also returns the size of the pack in bytes: four per pixel.
///
/// Only a few samples are in memory at once. The pack is written under a temporary name, synced and
/// renamed. An interruption leaves the previous pack or none.
///
/// # Errors
/// The errors of [`Dataset::open`] and [`Dataset::load`]. [`Error::Cache`] if the pack cannot be
/// written, or another process is making it.
pub fn prepare(
    manifest: &Manifest,
    root: &Path,
    split: &str,
    out: &Path,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<(Prepared, u64)> {
    let dataset = Dataset::open(manifest, root, split)?;
    let file = path(out, split);
    let fault = |reason: String| Error::Cache { path: file.clone(), reason };
    let size = || std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
    let reason = if file.exists() {
        match verify(out, manifest, &dataset, &progress) {
            Ok(()) => return Ok((Prepared::UpToDate, size())),
            Err(Error::Cache { reason, .. }) => Some(reason),
            Err(error) => return Err(error),
        }
    } else {
        None
    };
    std::fs::create_dir_all(out).map_err(|error| fault(format!("its folder cannot be made ({error})")))?;
    let mut part = file.with_extension(&PART[1..]);
    let io = |error: std::io::Error| fault(format!("cannot be written ({error})"));
    let create =
        |part: &Path| OpenOptions::new().write(true).create(true).truncate(false).open(part).map_err(io);
    let mut open = create(&part)?;
    match open.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(fault("another process is making it".into())),
        // On a file system without locks, several processes may each make the pack. The results are
        // the same.
        Err(TryLockError::Error(_)) => {
            let _ = std::fs::remove_file(&part);
            part = file.with_extension(format!("{}{PART}", std::process::id()));
            open = create(&part)?;
        }
    }
    open.set_len(0).map_err(io)?;
    let written = write(&open, manifest, &dataset, progress, &io);
    let done = written.and_then(|()| std::fs::rename(&part, &file).map_err(io));
    if let Err(error) = done {
        // The remaining file is not a pack. A failure to remove it matters less than the original
        // error.
        let _ = std::fs::remove_file(&part);
        return Err(error);
    }
    File::open(out).and_then(|folder| folder.sync_all()).map_err(io)?;
    Ok((Prepared::Built(reason), size()))
}

/// Reads every sample of a pack.
fn verify(
    out: &Path,
    manifest: &Manifest,
    dataset: &Dataset,
    progress: &(impl Fn(usize, usize) + Sync),
) -> Result<()> {
    let pack = Pack::open(out, manifest, dataset.split(), dataset.stamps())?;
    let done = std::sync::atomic::AtomicUsize::new(0);
    (0..dataset.len()).into_par_iter().try_for_each(|index| {
        pack.sample(index)?;
        progress(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1, dataset.len());
        Ok(())
    })
}

fn write(
    file: &File,
    manifest: &Manifest,
    dataset: &Dataset,
    progress: impl Fn(usize, usize),
    io: &impl Fn(std::io::Error) -> Error,
) -> Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    writer.write_all(MAGIC).map_err(io)?;
    let mut offset = MAGIC.len() as u64;
    let mut entries = Vec::new();
    // Computed first: if a file changes while it is read, the pack is older than the file.
    let stamps = dataset.stamps();
    for (sample, stamp) in dataset.samples(0..dataset.len()).zip(stamps) {
        let sample = sample?;
        let (image, label) = (&sample.image, &sample.label);
        writer.write_all(&image.data).and_then(|()| writer.write_all(&label.data)).map_err(io)?;
        entries.push(Entry {
            id: sample.id,
            offset,
            width: image.width,
            height: image.height,
            crc: checksum(&image.data, &label.data),
            image: stamp.image,
            label: stamp.label,
        });
        offset += (image.data.len() + label.data.len()) as u64;
        progress(entries.len(), dataset.len());
    }
    let index = Index { origin: origin(manifest, dataset.split()), entries };
    writer.write_all(&index.to_bytes()).and_then(|()| writer.flush()).map_err(io)?;
    drop(writer);
    file.sync_all().map_err(io)
}
