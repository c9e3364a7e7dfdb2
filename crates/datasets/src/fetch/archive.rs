//! Unpacks an archive without writing outside its folder.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use super::download::with_end;
use super::local::local;
use super::settings::{Fetch, FetchProgress, FetchStage};

impl Fetch {
    /// Unpacks the tar file `file`, gzipped or not, next to its destination, and moves its `folder`
    /// to `root`.
    ///
    /// Only files and folders with plain paths are accepted. Links and devices, which no dataset
    /// needs, are refused, as are absolute paths and `..`. So is an archive that exceeds the
    /// limits.
    pub(super) fn unpack(
        &self,
        file: &Path,
        folder: &Path,
        root: &Path,
        progress: &dyn Fn(FetchProgress),
    ) -> Result<(), String> {
        let aside = with_end(file, ".unpacking");
        let clear = || match std::fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(local(&aside, &error)),
            _ => Ok(()),
        };
        clear()?;
        let unpacked = self.unpack_into(file, &aside, progress).and_then(|()| {
            let (from, to) = (aside.join(folder), root.join(folder));
            if !from.is_dir() {
                return Err(format!("{} holds no folder {}", file.display(), folder.display()));
            }
            std::fs::create_dir_all(to.parent().unwrap_or(root))
                .and_then(|()| std::fs::rename(&from, &to))
                .map_err(|error| local(&to, &error))
        });
        clear()?;
        unpacked
    }

    fn unpack_into(&self, file: &Path, aside: &Path, progress: &dyn Fn(FetchProgress)) -> Result<(), String> {
        let unreadable = |error: io::Error| format!("{} is no whole tar file: {error}", file.display());
        let refuse = |path: &Path, reason: &str| {
            format!("{} is not unpacked: {} in it {reason}", file.display(), path.display())
        };
        std::fs::create_dir_all(aside).map_err(|error| local(aside, &error))?;
        let opened = File::open(file).map_err(|error| local(file, &error))?;
        let total = opened.metadata().map_or(0, |found| found.len());
        let counted = Counted { inner: BufReader::new(opened), done: 0, total, progress };
        let mut archive = tar::Archive::new(decoded(counted).map_err(unreadable)?);
        let (mut bytes, mut entries) = (0_u64, 0_u64);
        for entry in archive.entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            let kind = entry.header().entry_type();
            if kind == EntryType::XGlobalHeader {
                continue;
            }
            let path = entry.path().map_err(unreadable)?.into_owned();
            let plain = plain(&path).ok_or_else(|| refuse(&path, "leads out of the folder"))?;
            (bytes, entries) = (bytes.saturating_add(entry.size()), entries + 1);
            if bytes > self.max_bytes || entries > self.max_entries {
                return Err(refuse(&path, &format!("makes it larger than {} bytes", self.max_bytes)));
            }
            let target = aside.join(&plain);
            match kind {
                EntryType::Directory => {
                    std::fs::create_dir_all(&target).map_err(|error| local(&target, &error))?;
                }
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    let parent = target.parent().unwrap_or(aside);
                    std::fs::create_dir_all(parent).map_err(|error| local(parent, &error))?;
                    let mut out = File::create_new(&target).map_err(|error| local(&target, &error))?;
                    let size = entry.size();
                    let written = io::copy(&mut entry, &mut out).map_err(|error| match error.kind() {
                        io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::InvalidInput
                        | io::ErrorKind::InvalidData => unreadable(error),
                        _ => local(&target, &error),
                    })?;
                    if written != size {
                        return Err(refuse(&path, &format!("has {written} of {size} bytes")));
                    }
                }
                _ => return Err(refuse(&path, "is a link or a device, which no dataset needs")),
            }
        }
        Ok(())
    }
}

/// A tar file's bytes, decompressed if it is gzipped.
fn decoded<'a>(mut file: impl io::BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let gzip = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// A path that consists of names only. `None` if it could lead elsewhere.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
        }
    }
    Some(plain)
}

/// Reports how much of a file was read.
struct Counted<'a, R> {
    inner: R,
    done: u64,
    total: u64,
    progress: &'a dyn Fn(FetchProgress),
}

impl<R: io::BufRead> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.consumed(read);
        Ok(read)
    }
}

impl<R: io::BufRead> io::BufRead for Counted<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
        self.consumed(amount);
    }
}

impl<R> Counted<'_, R> {
    fn consumed(&mut self, amount: usize) {
        self.done += amount as u64;
        let Self { done, total, .. } = *self;
        (self.progress)(FetchProgress { stage: FetchStage::Unpacking, done, total });
    }
}
