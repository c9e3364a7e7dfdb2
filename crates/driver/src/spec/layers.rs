//! The layers of a spec: the files that `base` names, the lowest first, the file itself, and the
//! arguments of `--set`.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::document::{Node, Value};
use super::fault::{Fault, Place, SpecError};
use super::merge::Change;
use super::read;

/// The key that names the spec, or the list of specs, that a spec builds on.
pub(super) const BASE: &str = "base";

/// The most files of one spec.
const MOST: usize = 16;

/// A layer of a spec and what it changed in the layers below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// A file, or an argument of `--set`.
    pub source: LayerSource,
    /// The changes, in the order of the layer. The lowest layer changes nothing.
    pub changes: Vec<Change>,
}

/// The origin of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerSource {
    /// A file.
    File(PathBuf),
    /// An argument of `--set`.
    Override(String),
}

impl fmt::Display for LayerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Override(argument) => write!(f, "--set {argument}"),
        }
    }
}

impl Serialize for LayerSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The files of a spec in the course of reading.
#[derive(Default)]
struct Files {
    /// The files on the way to the present one, as named and as found on the disk.
    way: Vec<(PathBuf, PathBuf)>,
    layers: Vec<(PathBuf, Node)>,
}

/// The tree of the spec at `path` with its bases below it, and its layers.
pub(super) fn of_file(path: &Path) -> Result<(Node, Vec<Layer>), SpecError> {
    let mut files = Files::default();
    files.add(path)?;
    let mut files = files.layers.into_iter();
    let (lowest, mut tree) = files.next().expect("the spec itself is a layer");
    let mut layers = vec![Layer { source: LayerSource::File(lowest), changes: Vec::new() }];
    for (path, node) in files {
        let mut changes = Vec::new();
        tree.merge(node, layers.len(), &mut changes);
        layers.push(Layer { source: LayerSource::File(path), changes });
    }
    Ok((tree, layers))
}

/// The trees of bases that `part` of the file at `path` names, the lowest first. Takes the key out
/// of `part`.
pub(super) fn bases_of(path: &Path, part: &mut Node) -> Result<Vec<(PathBuf, Node)>, SpecError> {
    let mut files = Files::default();
    files.add_bases(path, part)?;
    Ok(files.layers)
}

impl Files {
    /// Adds the bases of the file at `path`, and then the file.
    fn add(&mut self, path: &Path) -> Result<(), SpecError> {
        let is_base = !self.way.is_empty();
        let parsed = Node::parse(&read(path)?);
        let mut node = parsed.map_err(|fault| SpecError::Content { path: path.to_owned(), fault })?;
        self.add_bases(path, &mut node)?;
        if is_base {
            node.become_base(path);
        }
        self.layers.push((path.to_owned(), node));
        Ok(())
    }

    /// Adds the bases that `node`, all or a part of the file at `path`, names.
    fn add_bases(&mut self, path: &Path, node: &mut Node) -> Result<(), SpecError> {
        let content = |fault| SpecError::Content { path: path.to_owned(), fault };
        let bases = node.take_bases().map_err(content)?;
        let found = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.way.push((path.to_owned(), found));
        for (base, place) in bases {
            let refuse = |message: String| content(Fault::new(message).under(BASE, &place));
            let base: PathBuf = path.parent().unwrap_or(Path::new("")).join(base).components().collect();
            let found = std::fs::canonicalize(&base);
            let found = found.map_err(|error| refuse(format!("{}: {error}", base.display())))?;
            if let Some(start) = self.way.iter().position(|(_, on_the_way)| *on_the_way == found) {
                let circle = self.way[start..].iter().map(|(path, _)| path).chain([&base]);
                let circle: Vec<_> = circle.map(|path| path.display().to_string()).collect();
                return Err(refuse(format!("the specs are each other's bases: {}", circle.join(" -> "))));
            }
            if self.layers.len() + self.way.len() >= MOST {
                return Err(refuse(format!("the spec has more than {MOST} layers")));
            }
            self.add(&base)?;
        }
        self.way.pop();
        Ok(())
    }
}

impl Node {
    /// Refuses `base` in a spec that is no file.
    pub(super) fn without_bases(mut self) -> Result<Self, Fault> {
        match self.take_bases()?.first() {
            None => Ok(self),
            Some((_, place)) => Err(Fault::new("only a spec in a file has a base").under(BASE, place)),
        }
    }

    /// Takes the key `base` out of the root, and returns its values with their places.
    fn take_bases(&mut self) -> Result<Vec<(String, Place)>, Fault> {
        let Value::Map(entries) = &mut self.value else { return Ok(Vec::new()) };
        let Some(index) = entries.iter().position(|entry| entry.key == BASE) else { return Ok(Vec::new()) };
        let node = entries.remove(index).node;
        let nodes = match node.value {
            Value::List(nodes) => nodes,
            _ => vec![node],
        };
        let text = |Self { value, place }| match value {
            Value::Text(text) if !text.trim().is_empty() => Ok((text, place)),
            _ => Err(Fault::new("expected the path of a spec, or a list of them").under(BASE, &place)),
        };
        nodes.into_iter().map(text).collect()
    }

    /// Makes this the tree of a base, the file at `path`. Its name stays behind: each spec has its
    /// own.
    fn become_base(&mut self, path: &Path) {
        if let Value::Map(entries) = &mut self.value {
            entries.retain(|entry| entry.key != "name");
        }
        self.relocate(&|place| match place {
            Place::File { line, column } => Place::Base { path: path.to_owned(), line, column },
            other => other,
        });
    }
}

/// The folder at which a relative path starts that was written at `place`, in a spec in `folder`.
pub(super) fn folder_of<'a>(place: &'a Place, folder: &'a Path) -> Cow<'a, Path> {
    match place {
        Place::Base { path, .. } => {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            absolute.parent().map_or(folder.into(), |parent| parent.to_owned().into())
        }
        Place::File { .. } | Place::Override(_) => folder.into(),
    }
}
