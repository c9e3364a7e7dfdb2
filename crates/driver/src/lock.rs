//! The lock of a folder, for one process at a time, even on a file system without locks.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tracing::warn;

/// The file that the system locks.
const LOCK: &str = ".lock";

/// The file that names the process in the folder, if the system cannot lock.
const OWNER: &str = ".lock.owner";

/// How often a lock is tried again, and after how long.
const LOOKS: usize = 10;
const LOOK: Duration = Duration::from_millis(30);

/// Whether this process has reported a file system without locks.
static TOLD: AtomicBool = AtomicBool::new(false);

/// A folder's lock, held while the value lives.
#[derive(Debug)]
pub(crate) enum Lock {
    /// A lock of the system, which releases it when the process ends in any way.
    System { _file: File },
    /// A lock by a file. While this process lives, only it deletes the file.
    Owner { file: PathBuf },
}

impl Lock {
    /// Locks the folder at `folder`, which must exist.
    ///
    /// # Errors
    /// If another process holds the lock or may hold it, or if the lock's file cannot be written.
    pub(crate) fn take(folder: &Path) -> anyhow::Result<Self> {
        Self::take_by(folder, |file| {
            let mut locked = file.try_lock();
            // `is_held` holds the lock for a moment.
            for _ in 0..LOOKS {
                let Err(TryLockError::WouldBlock) = locked else { break };
                std::thread::sleep(LOOK);
                locked = file.try_lock();
            }
            locked
        })
    }

    /// Whether another process holds the lock of `folder`, or may hold it.
    pub(crate) fn is_held(folder: &Path) -> bool {
        let Ok(file) = File::open(folder.join(LOCK)) else { return false };
        match file.try_lock_shared() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(_)) => {
                let owner = fs::read_to_string(folder.join(OWNER)).ok();
                let owner = owner.map(|text| serde_json::from_str::<Owner>(&text).ok());
                owner.is_some_and(|owner| !owner.as_ref().is_some_and(Owner::is_gone))
            }
        }
    }

    /// Deletes the lock's file in `folder`, whose lock this process holds and keeps until its value is
    /// dropped. The folder is then as before, without a trace of the lock.
    pub(crate) fn discard(folder: &Path) {
        // A file that stays does no harm.
        let _ = fs::remove_file(folder.join(LOCK));
    }

    fn take_by(folder: &Path, try_lock: impl Fn(&File) -> Result<(), TryLockError>) -> anyhow::Result<Self> {
        let path = folder.join(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(|| format!("opening the lock {}", path.display()))?;
        match try_lock(&file) {
            Ok(()) if !is_at(&file, &path) => Self::take_by(folder, try_lock),
            Ok(()) => Ok(Self::System { _file: file }),
            Err(TryLockError::WouldBlock) => bail!(
                "directory {} is in use: another robustseg writes it; wait for that, or take another --out",
                folder.display()
            ),
            Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                let file = Owner::take(folder)?;
                if !TOLD.swap(true, Ordering::Relaxed) {
                    warn!(
                        "the file system of {} has no locks ({error}); the file {} keeps other processes out",
                        folder.display(),
                        file.display()
                    );
                }
                Ok(Self::Owner { file })
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", path.display()))
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Self::Owner { file } = self {
            // If the file stays, the next process finds that its owner has ended.
            let _ = fs::remove_file(file);
        }
    }
}

/// Whether `file` is still the one at `path`. The command that made it may have discarded it since it
/// was opened, and it then locks nobody out.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |about: io::Result<fs::Metadata>| about.ok().map(|about| (about.dev(), about.ino()));
    let found = identity(fs::metadata(path));
    found.is_some() && found == identity(file.metadata())
}

/// Other systems delete no file that is open.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

/// Whether `error` says that the file system has no locks: ENOSYS, EOPNOTSUPP or ENOLCK.
fn has_no_locks(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::ENOLCK) || error.raw_os_error() == Some(libc::EOPNOTSUPP) {
        return true;
    }
    error.kind() == ErrorKind::Unsupported
}

/// Identifies a process uniquely across machines.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    host: String,
    /// Different after each boot of the machine. Empty if the system does not report it.
    boot: String,
    process: u32,
    /// The start time of the process, in the system's own format. Empty if the system does not
    /// report it.
    started: String,
}

impl Owner {
    fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let host = match read("/proc/sys/kernel/hostname") {
            host if host.is_empty() => output_of("uname", &["-n"]).unwrap_or_default(),
            host => host,
        };
        let process = std::process::id();
        let started = start_of(process).unwrap_or_default();
        Self { host, boot: read("/proc/sys/kernel/random/boot_id"), process, started }
    }

    /// Whether the process is known to have ended.
    fn is_gone(&self) -> bool {
        let this = Self::this();
        self.host == this.host
            && !this.host.is_empty()
            && !this.started.is_empty()
            && (self.boot != this.boot || start_of(self.process).as_deref() != Some(&self.started))
    }

    /// Makes this process the owner of `folder`. Returns the file that records this.
    fn take(folder: &Path) -> anyhow::Result<PathBuf> {
        let path = folder.join(OWNER);
        let own = serde_json::to_string(&Self::this())?;
        // The second try follows the removal of a dead process's file.
        for _ in 0..2 {
            match File::create_new(&path) {
                Ok(mut file) => {
                    let written = file.write_all(own.as_bytes()).and_then(|()| file.sync_all());
                    if let Err(error) = written {
                        let _ = fs::remove_file(&path);
                        return Err(error).with_context(|| format!("writing {}", path.display()));
                    }
                    return Ok(path);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("making {}", path.display())),
            }
            let found = fs::read_to_string(&path).unwrap_or_default();
            let owner: Option<Self> = serde_json::from_str(&found).ok();
            if !owner.as_ref().is_some_and(Self::is_gone) || !remove_if(&path, &found) {
                let who = owner.map_or_else(
                    || "another robustseg".to_owned(),
                    |owner| format!("process {} on {}", owner.process, owner.host),
                );
                bail!(
                    "directory {} is in use by {who}; wait for that, or take another --out, or, if that process is \
                     over, delete {}",
                    folder.display(),
                    path.display()
                );
            }
        }
        bail!("directory {} is in use: another robustseg has just begun to write it", folder.display())
    }
}

/// Deletes the file at `path` if its content is `found`. Returns whether it did. If several
/// processes try, one succeeds.
fn remove_if(path: &Path, found: &str) -> bool {
    let aside = path.with_extension(format!("gone-{}", std::process::id()));
    if fs::rename(path, &aside).is_err() {
        return false;
    }
    if fs::read_to_string(&aside).is_ok_and(|text| text == found) {
        return fs::remove_file(&aside).is_ok();
    }
    // Another process was faster. This is its file, so it goes back.
    let _ = fs::rename(&aside, path);
    false
}

/// The start time of the process with this number. `None` if it has ended or the system does not
/// report it.
fn start_of(process: u32) -> Option<String> {
    if !Path::new("/proc/self/stat").exists() {
        return output_of("ps", &["-o", "lstart=", "-p", &process.to_string()]);
    }
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name is in parentheses and may contain anything. The 20th field after it is the start
    // time.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19).map(str::to_owned)
}

/// The standard output of a command that succeeds with a nonempty output.
fn output_of(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_locks(folder: &Path) -> anyhow::Result<Lock> {
        Lock::take_by(folder, |_| Err(TryLockError::Error(io::Error::from(ErrorKind::Unsupported))))
    }

    #[test]
    fn a_file_system_without_locks_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = without_locks(folder.path()).unwrap();
        let error = without_locks(folder.path()).unwrap_err().to_string();
        assert!(error.contains("in use") && error.contains(OWNER), "{error}");
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        assert!(!folder.path().join(OWNER).exists());
        assert!(without_locks(folder.path()).is_ok());
    }

    #[test]
    fn a_look_at_a_lock_takes_it_from_nobody() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Lock::is_held(folder.path()));
        let lock = Lock::take(folder.path()).unwrap();
        assert!(Lock::is_held(folder.path()) && Lock::is_held(folder.path()));
        drop(lock);
        assert!(!Lock::is_held(folder.path()));
        let path = folder.path().to_owned();
        let looking = std::thread::spawn(move || {
            for _ in 0..20 {
                Lock::is_held(&path);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        while !looking.is_finished() {
            drop(Lock::take(folder.path()).unwrap());
        }
        looking.join().unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_that_was_discarded_while_it_was_awaited_is_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCK);
        let discarded = AtomicBool::new(false);
        let lock = Lock::take_by(folder.path(), |file| {
            if !discarded.swap(true, Ordering::Relaxed) {
                fs::remove_file(&path).unwrap();
            }
            file.try_lock()
        });
        assert!(Lock::is_held(folder.path()), "by the file that is there now");
        drop(lock);
        assert!(!Lock::is_held(folder.path()));
    }

    #[test]
    fn the_file_of_a_process_that_is_over_locks_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(OWNER);
        let write = |owner: &Owner| fs::write(&path, serde_json::to_string(owner).unwrap()).unwrap();
        let gone = |change: fn(&mut Owner)| {
            let mut owner = Owner::this();
            change(&mut owner);
            write(&owner);
            without_locks(folder.path()).map(drop)
        };
        gone(|owner| owner.process = u32::MAX).unwrap();
        gone(|owner| owner.started.push('0')).unwrap();
        // A process on another machine cannot be checked.
        let error = gone(|owner| owner.host.push('x')).unwrap_err().to_string();
        assert!(error.contains("delete") && error.contains(OWNER), "{error}");
        fs::write(&path, "{").unwrap();
        let error = without_locks(folder.path()).unwrap_err().to_string();
        assert!(error.contains("another robustseg") && error.contains(OWNER), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"{");
    }

    #[test]
    fn other_faults_of_a_lock_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let fault = || TryLockError::Error(io::Error::from(ErrorKind::PermissionDenied));
        assert!(Lock::take_by(folder.path(), |_| Err(fault())).is_err());
        #[cfg(unix)]
        for code in [libc::ENOLCK, libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOTSUP] {
            assert!(has_no_locks(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }
}
