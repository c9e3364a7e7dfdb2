//! The images of a prediction: files, all files of folders, and patterns.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::exit::Usage;

/// The endings of images in folders and patterns.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// An image to predict.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Picture {
    /// Its file.
    pub(super) path: PathBuf,
    /// The beginning of the names of its results: the file's name without its ending, in folders
    /// after the folders in between.
    pub(super) name: String,
}

/// The images that `arguments` name: a file itself, the images in a folder and below it in the
/// order of their names, and for a name with `*` or `?` that is no file those that it fits. A
/// pattern has one folder, as in `photos/2026*.jpg`.
///
/// # Errors
/// If a folder cannot be read. [`Usage`] if it has no image, or no image fits a pattern.
pub(super) fn find(arguments: &[PathBuf]) -> anyhow::Result<Vec<Picture>> {
    let mut found = Vec::new();
    for argument in arguments {
        let before = found.len();
        let pattern = argument.file_name().and_then(OsStr::to_str).filter(|name| name.contains(['*', '?']));
        match pattern {
            _ if argument.is_dir() => below(argument, "", &mut found)?,
            Some(pattern) if !argument.exists() => {
                let folder = argument.parent().filter(|folder| !folder.as_os_str().is_empty());
                for path in entries(folder.unwrap_or(Path::new(".")))? {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    if is_image(&path) && fits(pattern, &name) {
                        let path = folder.map_or_else(|| name.as_ref().into(), |folder| folder.join(&*name));
                        found.push(picture("", path)?);
                    }
                }
            }
            _ => found.push(picture("", argument.clone())?),
        }
        if found.len() == before {
            let what = format!(
                "{}: there is no image (.png, .jpg or .jpeg) in it or of that name",
                argument.display()
            );
            return Err(Usage(what).into());
        }
    }
    Ok(found)
}

/// Refuses two of `pictures` whose results would be one file, even where file names ignore case.
/// `files` are the results of a name.
pub(super) fn require_own_files(
    pictures: &[Picture],
    files: impl Fn(&str) -> Vec<String>,
) -> Result<(), Usage> {
    let mut owners: HashMap<String, &Path> = HashMap::new();
    for Picture { path, name } in pictures {
        for file in files(name) {
            if let Some(other) = owners.insert(file.to_lowercase(), path) {
                let (a, b) = (other.display(), path.display());
                return Err(Usage(format!(
                    "{a} and {b} would both be written to {file}; give each its own command and --out"
                )));
            }
        }
    }
    Ok(())
}

fn picture(beginning: &str, path: PathBuf) -> Result<Picture, Usage> {
    let stem = path.file_stem().map(|stem| format!("{beginning}{}", stem.to_string_lossy()));
    let name = stem.ok_or_else(|| Usage(format!("{}: is no file", path.display())))?;
    Ok(Picture { path, name })
}

/// Appends the images in `folder` and below it. `beginning` names the folders in between.
fn below(folder: &Path, beginning: &str, found: &mut Vec<Picture>) -> anyhow::Result<()> {
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        // Links to folders are left out: they may lead in circles.
        if path.symlink_metadata()?.is_dir() {
            below(&path, &format!("{beginning}{name}/"), found)?;
        } else if is_image(&path) {
            found.push(picture(beginning, path)?);
        }
    }
    Ok(())
}

/// The entries of `folder` by name.
fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let mut paths = read().with_context(|| format!("reading the folder {}", folder.display()))?;
    paths.sort();
    Ok(paths)
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
        && path.is_file()
}

/// Whether `name` fits `pattern`, in which `*` is any text and `?` any character.
fn fits(pattern: &str, name: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('*') => {
            let ends = name.char_indices().map(|(place, _)| place).chain([name.len()]);
            ends.into_iter().any(|place| fits(rest.as_str(), &name[place..]))
        }
        Some(wanted) => {
            let mut letters = name.chars();
            let first = letters.next();
            first.is_some_and(|letter| wanted == '?' || wanted == letter)
                && fits(rest.as_str(), letters.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn folders_and_patterns_become_their_images() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("in/deep")).unwrap();
        for name in ["in/b.PNG", "in/a.jpg", "in/notes.txt", "in/deep/a.jpeg", "in/.hidden.png", "in/a2.png"]
        {
            fs::write(at(name), "").unwrap();
        }
        let names = |argument: &str| -> Vec<String> {
            find(&[at(argument)]).unwrap().into_iter().map(|picture| picture.name).collect()
        };
        assert_eq!(names("in"), ["a", "a2", "b", "deep/a"]);
        assert_eq!(names("in/a*"), ["a", "a2"]);
        assert_eq!(names("in/?.*"), ["a", "b"]);
        assert_eq!(names("in/notes.txt"), ["notes"], "a file is taken whatever its name");
        for nothing in ["in/c*", "empty"] {
            fs::create_dir_all(at("empty")).unwrap();
            let error = find(&[at(nothing)]).unwrap_err();
            assert!(Exit::of(&error) == Exit::Usage && error.to_string().contains("no image"), "{error}");
        }
    }

    #[test]
    fn patterns_have_stars_and_question_marks() {
        for (pattern, name) in [("*", ""), ("a*c", "abbc"), ("*.png", "é.png"), ("?x", "éx"), ("a**", "a")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("?", ""), ("a*c", "ab"), ("a", "ab"), ("", "a")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
