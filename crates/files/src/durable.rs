//! Writes after which a file is either the old one or the new one, whatever interrupts them.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// The prefix and suffix of the names of temporary files.
const TEMPORARY: (&str, &str) = (".robustseg-", ".tmp");

/// Writes `bytes` to `path`. A crash or a full disk leaves the old file intact.
///
/// The bytes go to a temporary file in the same folder, which is synced and renamed to `path`; then
/// the folder is synced. An error deletes the temporary file. A killed process leaves it for
/// [`remove_temporary`].
///
/// # Errors
/// The errors of the file system. The old file is then unchanged.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = Draft::new(folder(path))?;
    draft.write_all(bytes)?;
    draft.publish(path)
}

/// Like [`write_atomically`], but keeps the old file at `former`, replacing any file there. At
/// every moment one of the two files is complete, and once `path` exists it never disappears.
///
/// # Errors
/// The errors of [`write_atomically`].
pub fn write_keeping_former(path: &Path, bytes: &[u8], former: &Path) -> io::Result<()> {
    let mut draft = Draft::new(folder(path))?;
    draft.write_all(bytes)?;
    // A full disk may report its error only here, before `former` is deleted.
    draft.0.as_file().sync_all()?;
    if path.exists() {
        if former.exists() {
            std::fs::remove_file(former)?;
        }
        // Some file systems have no links.
        std::fs::hard_link(path, former).or_else(|_| std::fs::copy(path, former).map(drop))?;
    }
    draft.publish(path)
}

/// Makes the folder at `path` and its missing parents, and syncs them so that a power cut does not
/// remove them.
///
/// # Errors
/// The errors of the file system.
pub fn create_folders(path: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    std::fs::create_dir_all(path)?;
    missing.into_iter().try_for_each(|path| sync_folder(folder(path)))
}

/// A file that is being written under a temporary name. Dropping it deletes the file;
/// [`Draft::publish`] names it.
///
/// ```
/// use std::io::Write;
/// # fn main() -> std::io::Result<()> {
/// let folder = tempfile::tempdir()?;
/// let mut draft = robustseg_files::Draft::new(folder.path())?;
/// draft.write_all(b"content")?;
/// draft.publish(&folder.path().join("file"))?;
/// assert_eq!(std::fs::read(folder.path().join("file"))?, b"content");
/// # Ok(())
/// # }
/// ```
pub struct Draft(NamedTempFile);

impl Draft {
    /// An empty draft of a file in `folder`.
    ///
    /// # Errors
    /// The errors of the file system.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY.0).suffix(TEMPORARY.1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // The permissions that other programs give new files. The umask of the process still
            // applies.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(folder)?;
        // `remove_temporary` skips locked files. On a file system without locks it deletes nothing.
        let _ = file.as_file().try_lock();
        Ok(Self(file))
    }

    /// Syncs the content, renames the file to `path`, which must be in the draft's folder, and
    /// syncs the folder.
    ///
    /// # Errors
    /// The errors of the file system. A file at `path` is then unchanged.
    pub fn publish(self, path: &Path) -> io::Result<()> {
        self.0.as_file().sync_all()?;
        self.0.persist(path).map_err(|failed| failed.error)?;
        sync_folder(folder(path))
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for Draft {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.0.seek(position)
    }
}

/// Syncs the list of files in `folder`: new names, new places, deletions.
///
/// # Errors
/// The errors of the file system.
#[cfg_attr(not(unix), allow(unused_variables, clippy::unnecessary_wraps))]
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    std::fs::File::open(folder)?.sync_all()?;
    Ok(())
}

/// The folder of the file at `path`.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Deletes the temporary files that killed processes left in `folder`. A draft that a live process
/// is writing is locked and stays. A missing folder counts as empty.
///
/// # Errors
/// The errors of the file system.
pub fn remove_temporary(folder: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        let temporary = name.starts_with(TEMPORARY.0.as_bytes()) && name.ends_with(TEMPORARY.1.as_bytes());
        if temporary && std::fs::File::open(entry.path())?.try_lock().is_ok() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomically(&path, b"old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_previous_file_is_kept_and_the_one_before_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, former) = (folder.path().join("state"), folder.path().join("former"));
        let read = |path: &Path| std::fs::read(path).unwrap();
        write_keeping_former(&path, b"1", &former).unwrap();
        assert!(read(&path) == b"1" && !former.exists());
        for state in [b"2", b"3"] {
            write_keeping_former(&path, state, &former).unwrap();
        }
        assert!(read(&path) == b"3" && read(&former) == b"2");
        // Killed between the two renames: both names are the same file.
        std::fs::remove_file(&former).unwrap();
        std::fs::hard_link(&path, &former).unwrap();
        write_keeping_former(&path, b"4", &former).unwrap();
        assert!(read(&path) == b"4" && read(&former) == b"3");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn temporary_files_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".robustseg-x1.tmp", ".robustseg-notes", "last.safetensors", ".lock"] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        remove_temporary(folder.path()).unwrap();
        assert!(!folder.path().join(".robustseg-x1.tmp").exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        remove_temporary(&folder.path().join("none")).unwrap();
        assert!(remove_temporary(&folder.path().join(".lock")).is_err(), "it is no folder");
    }

    #[test]
    fn what_is_being_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut draft = Draft::new(folder.path()).unwrap();
        draft.write_all(b"half").unwrap();
        remove_temporary(folder.path()).unwrap();
        draft.publish(&folder.path().join("file")).unwrap();
        assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"half");
    }

    #[test]
    fn a_temporary_file_is_next_to_its_destination() {
        for (path, expected) in [("a/b/file", "a/b"), ("/file", "/"), ("file", ".")] {
            assert_eq!(folder(Path::new(path)), Path::new(expected));
        }
    }

    #[test]
    fn folders_are_made_with_those_they_are_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c");
        for _ in 0..2 {
            create_folders(&path).unwrap();
            assert!(path.is_dir());
        }
        std::fs::write(path.join("file"), b"").unwrap();
        assert!(create_folders(&path.join("file/d")).is_err());
    }

    #[test]
    fn a_folder_in_the_way_stays_and_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::create_dir(&path).unwrap();
        assert!(write_atomically(&path, b"new").is_err());
        assert!(path.is_dir());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
