//! Sources of pretrained weights: a local file, or a repository of the hub, pinned where possible.

use crate::failure::wrong_hash;
use crate::hub::Hub;
use crate::hub_file::HubFile;
use crate::{Error, Result};
use robustseg_files::{is_hexadecimal, sha256_of};
use std::path::{Path, PathBuf};

/// What the names of files of weights end in. A repository's name does not.
const FILES: [&str; 4] = ["safetensors", "pth", "pt", "bin"];

/// Finds the local file that `source` names, and downloads it if necessary.
///
/// | `source` | file |
/// |---|---|
/// | `weights/resnet.safetensors`, `./weights`, `/data/weights`, any path that exists | that file |
/// | `timm/resnetv2_50.a1h_in1k` | `model.safetensors` of the hub's repository, at `main` as of the first download |
/// | `timm/resnetv2_50.a1h_in1k@REVISION#sha256=HASH` | that file of that commit, if it has that hash |
///
/// `REVISION` is a commit's 40 hexadecimal digits, `HASH` the file's 64. Either may be left out,
/// and a local path may end with `#sha256=HASH`. For an unpinned source a warning gives the pinned
/// form, to be copied into the spec.
///
/// The hub's cache folder, address and token come from the environment: see
/// [`Hub::from_environment`].
///
/// # Errors
/// [`Error::Pretrained`] if the source cannot be parsed, the hub cannot be reached or does not have
/// the file, or the file does not have the hash. The error lists the places searched and the
/// remedy. A local file without a hash is not opened here.
pub fn resolve(source: &str) -> Result<PathBuf> {
    let refuse = |reason: String| Error::Pretrained { weights: source.to_owned(), reason };
    match Source::parse(source).map_err(refuse)? {
        Source::Local { path, sha256: None } => Ok(path),
        Source::Local { path, sha256: Some(expected) } => match sha256_of(&path) {
            Ok(found) if found == expected => Ok(path),
            Ok(found) => Err(refuse(wrong_hash(&expected, &found))),
            Err(error) => Err(refuse(format!("{} cannot be read: {error}", path.display()))),
        },
        Source::Hub(file) => Ok(Hub::from_environment().fetch(&file)?.path),
    }
}

/// A parsed source.
#[derive(Debug, PartialEq)]
enum Source {
    Local { path: PathBuf, sha256: Option<String> },
    Hub(HubFile),
}

impl Source {
    fn parse(text: &str) -> Result<Self, String> {
        if Path::new(text).exists() {
            return Ok(Self::Local { path: text.into(), sha256: None });
        }
        let (place, sha256) = match text.split_once("#sha256=") {
            Some((place, hash)) => (place, Some(hash.to_ascii_lowercase())),
            None => (text, None),
        };
        if let Some(hash) = &sha256
            && !is_hexadecimal(hash, 64)
        {
            return Err(format!("the sha256 must be 64 hexadecimal digits, found {hash}"));
        }
        let path = Path::new(place);
        let local = ["./", "../", "/"].iter().any(|start| place.starts_with(start))
            || path.extension().is_some_and(|extension| FILES.iter().any(|known| extension == *known))
            || path.exists();
        if local {
            return Ok(Self::Local { path: path.into(), sha256 });
        }
        let (repository, revision) = match place.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision.to_ascii_lowercase())),
            None => (place, None),
        };
        if let Some(revision) = &revision
            && !is_hexadecimal(revision, 40)
        {
            return Err(format!("the revision must be a commit's 40 hexadecimal digits, found {revision}"));
        }
        if !is_repository(repository) {
            return Err("is neither an existing file nor a repository of the hub (ORGANISATION/NAME, for \
                 example timm/resnetv2_50.a1h_in1k)"
                .into());
        }
        Ok(Self::Hub(HubFile { repository: repository.into(), revision, sha256 }))
    }
}

/// Whether `text` is `organisation/name`, of characters that the hub allows.
fn is_repository(text: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    text.split_once('/').is_some_and(|(organisation, name)| is_name(organisation) && is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
    const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn sources_are_told_apart() {
        let hub = |revision: Option<&str>, sha256: Option<&str>| {
            Ok(Source::Hub(HubFile {
                repository: "timm/resnetv2_50.a1h_in1k".into(),
                revision: revision.map(Into::into),
                sha256: sha256.map(Into::into),
            }))
        };
        let name = "timm/resnetv2_50.a1h_in1k";
        assert_eq!(Source::parse(name), hub(None, None));
        assert_eq!(Source::parse(&format!("{name}@{REVISION}")), hub(Some(REVISION), None));
        let upper = HASH.to_ascii_uppercase();
        assert_eq!(Source::parse(&format!("{name}#sha256={upper}")), hub(None, Some(HASH)));
        let both = format!("{name}@{REVISION}#sha256={HASH}");
        assert_eq!(Source::parse(&both), hub(Some(REVISION), Some(HASH)));

        let local = |path: &str, sha256: Option<&str>| {
            Ok(Source::Local { path: path.into(), sha256: sha256.map(Into::into) })
        };
        for path in ["./missing", "../missing", "/missing", "timm/missing.safetensors", "src", "Cargo.toml"] {
            assert_eq!(Source::parse(path), local(path, None));
            assert_eq!(Source::parse(&format!("{path}#sha256={HASH}")), local(path, Some(HASH)));
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for (source, reason) in [
            ("timm", "neither an existing file nor a repository"),
            ("timm/../secret", "neither"),
            ("timm/name/more", "neither"),
            (".timm/name", "neither"),
            ("timm/name with space", "neither"),
            ("", "neither"),
            ("timm/name@main", "40 hexadecimal digits, found main"),
            ("timm/name#sha256=12", "64 hexadecimal digits, found 12"),
        ] {
            let error = resolve(source).unwrap_err().to_string();
            assert!(error.contains(reason), "{source}: {error}");
        }
    }

    #[test]
    fn a_local_file_is_itself_if_its_hash_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc.safetensors");
        std::fs::write(&path, b"abc").unwrap();
        let text = path.to_str().unwrap();
        assert_eq!(resolve(text).unwrap(), path);
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(resolve(&format!("{text}#sha256={hash}")).unwrap(), path);
        let error = resolve(&format!("{text}#sha256={HASH}")).unwrap_err().to_string();
        assert!(error.contains(&format!("expected {HASH}, found {hash}")), "{error}");
        let missing = format!("{text}.safetensors#sha256={HASH}");
        let error = resolve(&missing).unwrap_err().to_string();
        assert!(error.contains(&format!("{text}.safetensors cannot be read")), "{error}");
        assert_eq!(resolve("./missing").unwrap(), Path::new("./missing"));
    }
}
