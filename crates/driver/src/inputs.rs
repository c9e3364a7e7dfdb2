//! The files that a command reads, and where it may write: never over its inputs, and only over its
//! own earlier output.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;

use crate::exit::Usage;
use crate::record::{Written, names_below};

/// Files and folders that a command reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs(Vec<PathBuf>);

impl Inputs {
    pub(crate) fn of<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Self {
        let paths = paths.into_iter().map(|path| path.as_ref().to_owned());
        // Generated data has no folder.
        Self(paths.filter(|path| !path.as_os_str().is_empty()).collect())
    }

    /// An input that is `folder` or lies in it, under any name.
    fn below(&self, folder: &Path) -> Option<&Path> {
        let folder = real(folder);
        self.0.iter().find(|input| real(input).starts_with(&folder)).map(PathBuf::as_path)
    }

    /// Refuses a folder `out` that is an input or contains one.
    pub(crate) fn require_outside(&self, out: &Path) -> Result<(), Usage> {
        let reason = self.conflict(out);
        reason.map_or(Ok(()), |reason| Err(Usage(format!("{reason}; copy it, or take another --out"))))
    }

    /// If the folder `out` is an input or contains one, the beginning of a message about it.
    fn conflict(&self, out: &Path) -> Option<String> {
        let input = self.below(out)?;
        Some(if real(input) == real(out) {
            format!("{} is read by this command, which would write into it", input.display())
        } else {
            format!("{} is read and lies in {}, where results would go", input.display(), out.display())
        })
    }

    /// Whether `path` is an input or lies in one, under any name.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        self.holding(path).is_some()
    }

    /// The input that is `file` or contains it, under any name.
    fn holding(&self, file: &Path) -> Option<&Path> {
        let place = real(file);
        let holds = |input: &&PathBuf| place.starts_with(real(input)) || is_same_file(input, file);
        self.0.iter().find(holds).map(PathBuf::as_path)
    }
}

/// Refuses the folder `out` for the results of `command` if it is an input, or if it holds anything
/// that an earlier `command` did not write. Its folder `left_out` does not count. Writes nothing.
///
/// # Errors
/// [`Usage`] with the conflict, and a free folder to use instead.
pub(crate) fn check_folder(out: &Path, command: &str, left_out: &str, inputs: &Inputs) -> anyhow::Result<()> {
    if !is_folder(out, "--out")? {
        return Ok(());
    }
    let shown = out.display();
    let instead = || format!("take another --out, for example {}", unused(out, command).display());
    let refuse = |reason: String| Err(Usage(format!("{reason}; {}", instead())).into());
    if let Some(reason) = inputs.conflict(out) {
        return refuse(reason);
    }
    let Some(written) = Written::read(out)? else {
        if holds_anything(out)? {
            return refuse(format!("{shown} holds something other than the results of `{command}`"));
        }
        return Ok(());
    };
    if written.command() != command {
        return refuse(format!("{shown} holds the results of `{}`, not of `{command}`", written.command()));
    }
    match written.foreign(out, left_out)? {
        Some((name, false)) => {
            return refuse(format!("{shown} holds {name}, which `{command}` did not write"));
        }
        Some((name, true)) => {
            return refuse(format!("{shown} holds {name}, which was changed since `{command}` wrote it"));
        }
        None => {}
    }
    for name in names_below(out, left_out)? {
        let file = out.join(name);
        if let Some(input) = inputs.0.iter().find(|input| is_same_file(input, &file)) {
            return refuse(format!(
                "{} is the same file as {}, which is read",
                file.display(),
                input.display()
            ));
        }
    }
    Ok(())
}

/// Refuses to write the file `out`, given by `option`, if it is an input or lies in one. Also
/// refuses an existing file, unless `is_own` recognises its bytes as those of an earlier result.
/// Writes nothing.
///
/// # Errors
/// [`Usage`] with the conflict.
pub(crate) fn check_file(
    out: &Path,
    option: &str,
    inputs: &Inputs,
    is_own: impl Fn(&[u8]) -> bool,
) -> anyhow::Result<()> {
    let shown = out.display();
    let refuse = |reason: String| Err(Usage(format!("{reason}; take another {option}")).into());
    if let Some(input) = inputs.holding(out) {
        return refuse(if real(input) == real(out) || is_same_file(input, out) {
            format!("{shown} is read by this command")
        } else {
            format!("{shown} would lie in {}, which this command reads", input.display())
        });
    }
    match fs::metadata(out) {
        Err(_) => {
            let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
            match folder {
                Some(folder) if !folder.is_dir() => {
                    refuse(format!("there is no folder {} for {shown}", folder.display()))
                }
                _ => Ok(()),
            }
        }
        Ok(found) if found.is_dir() => refuse(format!("{shown} is a folder, where a file is needed")),
        Ok(found) if !found.is_file() => refuse(format!("{shown} is not a regular file")),
        Ok(_) => {
            let bytes = fs::read(out).with_context(|| format!("reading {shown}"))?;
            if is_own(&bytes) {
                return Ok(());
            }
            refuse(format!("{shown} is there, and this command did not write it"))
        }
    }
}

/// Whether `out` is an existing folder. `false` if nothing exists there and a folder can be
/// created.
///
/// # Errors
/// [`Usage`] if there cannot be a folder.
pub(crate) fn is_folder(out: &Path, option: &str) -> anyhow::Result<bool> {
    let refuse = |reason: String| Err(Usage(reason).into());
    if out.as_os_str().is_empty() {
        return refuse(format!("{option} is empty; name a folder"));
    }
    match fs::metadata(out) {
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => refuse(format!("{} is a file; {option} takes a folder", out.display())),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            refuse(format!("{} would lie in a file; {option} takes a folder", out.display()))
        }
        Err(_) => {
            // `new/../photos` becomes `photos` as soon as `new` exists.
            let mut components = out.components();
            let mut there = PathBuf::new();
            let missing = components.by_ref().find(|component| {
                there.push(component);
                !there.exists()
            });
            if missing.is_some() && components.any(|component| component == Component::ParentDir) {
                return refuse(format!(
                    "{}: there is no {}; name the folder without `..`",
                    out.display(),
                    there.display()
                ));
            }
            Ok(false)
        }
    }
}

/// Whether the folder at `path` contains anything but hidden files. The lock is hidden, and other
/// hidden files do not matter.
pub(crate) fn holds_anything(path: &Path) -> anyhow::Result<bool> {
    let entries = fs::read_dir(path).with_context(|| format!("listing {}", path.display()))?;
    let mut names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    Ok(names.any(|name| !name.as_encoded_bytes().starts_with(b".")))
}

/// A free folder name, derived from `out`.
fn unused(out: &Path, command: &str) -> PathBuf {
    let name = out.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned() + "-");
    let numbered = |number: usize| match number {
        1 => out.with_file_name(format!("{name}{command}")),
        _ => out.with_file_name(format!("{name}{command}-{number}")),
    };
    (1..1000).map(numbered).find(|path| !path.exists()).unwrap_or_else(|| numbered(1000))
}

/// A path without links and `..`. A missing file gets its folder's real path and its own name.
fn real(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    fs::canonicalize(path).unwrap_or_else(|_| match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => real(folder).join(name),
        _ => path.to_owned(),
    })
}

/// Whether two names are the same file: through links of both kinds, or in another case where file
/// names ignore case.
fn is_same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let number = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        number(a).is_some_and(|number_of_a| number(b) == Some(number_of_a))
    }
    #[cfg(not(unix))]
    {
        real(a) == real(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::run_directory::RunDirectory;

    fn refusal(result: anyhow::Result<()>) -> String {
        let error = result.unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Usage, "{error}");
        error.to_string()
    }

    fn check(out: &Path, inputs: &[&Path]) -> anyhow::Result<()> {
        check_folder(out, "predict", "", &Inputs::of(inputs))
    }

    #[test]
    fn a_folder_is_written_again_while_it_holds_what_the_command_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        check(&out, &[]).unwrap();
        let directory = RunDirectory::for_results(&out, "predict", &Inputs::default()).unwrap();
        directory.write("a.png", b"1").unwrap();
        directory.write("sub/b.png", b"2").unwrap();
        drop(directory);
        fs::write(out.join(".DS_Store"), b"x").unwrap();
        fs::write(out.join("Thumbs.db"), b"x").unwrap();
        check(&out, &[]).unwrap();
        let directory = RunDirectory::for_results(&out, "predict", &Inputs::default()).unwrap();
        directory.write("a.png", b"3").unwrap();
        drop(directory);
        check(&out, &[]).unwrap();

        let other = RunDirectory::for_results(&out, "attack", &Inputs::default());
        assert!(refusal(other.map(drop)).contains("`predict`"));
        fs::write(out.join("a.png"), b"painted over").unwrap();
        let error = refusal(check(&out, &[]));
        assert!(
            error.contains("a.png") && error.contains("changed") && error.contains("out-predict"),
            "{error}"
        );
        fs::write(out.join("a.png"), b"1").unwrap();
        fs::write(out.join("sub/notes.txt"), b"mine").unwrap();
        let error = refusal(check(&out, &[]));
        assert!(error.contains("sub/notes.txt"), "{error}");
    }

    #[test]
    fn a_record_that_a_crash_tore_holds_what_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let directory = RunDirectory::for_results(&out, "predict", &Inputs::default()).unwrap();
        directory.write("a.png", b"1").unwrap();
        drop(directory);
        let record = out.join(".robustseg.jsonl");
        let whole = fs::read_to_string(&record).unwrap();
        fs::write(&record, whole.clone() + "{\"file\": \"b.p").unwrap();
        check(&out, &[]).unwrap();
        fs::write(&record, &whole[..whole.len() - 5]).unwrap();
        assert!(refusal(check(&out, &[])).contains("a.png"));
        fs::write(&record, "").unwrap();
        assert!(refusal(check(&out, &[])).contains("something other"));
    }

    #[cfg(unix)]
    #[test]
    fn no_name_hides_an_input() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let out = path("out");
        let directory = RunDirectory::for_results(&out, "predict", &Inputs::default()).unwrap();
        directory.write("a.png", b"1").unwrap();
        drop(directory);
        symlink("out", path("link")).unwrap();
        fs::hard_link(path("out/a.png"), path("hard.png")).unwrap();
        symlink("out/a.png", path("soft.png")).unwrap();
        for input in ["out/a.png", "link/a.png", "out/../out/a.png", "out", "hard.png", "soft.png"] {
            for out in ["out", "link", "link/../out/."] {
                let error = refusal(check(&path(out), &[&path(input)]));
                assert!(error.contains("read"), "{input} {out}: {error}");
            }
            if input != "out" {
                let error =
                    refusal(check_file(&path("out/a.png"), "--json", &Inputs::of([path(input)]), |_| true));
                assert!(error.contains("read") && error.contains("--json"), "{error}");
            }
        }
        check(&out, &[&path("elsewhere.png")]).unwrap();
        // A link in the folder leads out of it.
        symlink("../hard.png", path("out/b.png")).unwrap();
        assert!(refusal(check(&out, &[])).contains("b.png"));
    }

    #[test]
    fn impossible_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), b"x").unwrap();
        fs::create_dir(path("photos")).unwrap();
        for (out, part) in [("file", "is a file"), ("file/x", "in a file"), ("new/../photos", "`..`")] {
            let error = refusal(check(&path(out), &[]));
            assert!(error.contains(part), "{error}");
        }
        assert!(refusal(check(Path::new(""), &[])).contains("empty"));
        check(&path("photos/../new"), &[]).unwrap();
    }

    #[test]
    fn a_file_is_replaced_if_it_is_the_commands_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("own.json"), b"own").unwrap();
        fs::write(path("thesis.tex"), b"mine").unwrap();
        fs::create_dir(path("data")).unwrap();
        let inputs = Inputs::of([path("data")]);
        let check = |name: &str| check_file(&path(name), "--json", &inputs, |bytes| bytes == b"own");
        check("own.json").unwrap();
        check("new.json").unwrap();
        for (name, part) in [
            ("thesis.tex", "did not write it"),
            ("data/new.json", "lie in"),
            ("data", "read"),
            ("none/new.json", "no folder"),
        ] {
            let error = refusal(check(name));
            assert!(error.contains(part), "{name}: {error}");
        }
        #[cfg(unix)]
        {
            let error = refusal(check_file(Path::new("/dev/null"), "--json", &inputs, |_| true));
            assert!(error.contains("regular"), "{error}");
        }
    }
}
