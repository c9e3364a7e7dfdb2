//! Compares the tensors of a file with those that a network needs.

use std::collections::BTreeMap;
use std::fmt;

use robustseg_words::counted;

use crate::kind::{Kind, Product, Shapes};
use crate::names::{Rules, published, translated};
use crate::spelling::Spelling;
use crate::{Result, Weights};

/// All tensors that do not fit, under their published names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Misfit {
    /// Tensors that the network needs and the file lacks, with their shapes.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Tensors of the file without a place in the network, with their shapes.
    pub unexpected: Vec<(String, Vec<usize>)>,
    /// Tensors of other shapes: name, shape in the file, expected shape.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Tensors of the file whose types of numbers are not known here.
    pub types: Vec<String>,
    /// What the file may be instead.
    pub hint: Option<String>,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shaped = |tensors: &[(String, Vec<usize>)]| {
            tensors.iter().map(|(name, shape)| format!("{name} {shape:?}")).collect::<Vec<_>>().join(", ")
        };
        let mut parts: Vec<String> = self.hint.clone().into_iter().collect();
        let mut part = |count: usize, what: &str, list: String| {
            if count > 0 {
                parts.push(format!("{} {what}: {list}", counted(count, "tensor")));
            }
        };
        part(self.missing.len(), "missing", shaped(&self.missing));
        part(self.unexpected.len(), "unexpected", shaped(&self.unexpected));
        let other = |(name, found, expected): &(String, Vec<usize>, Vec<usize>)| {
            format!("{name} {found:?} instead of {expected:?}")
        };
        let shapes = self.shapes.iter().map(other).collect::<Vec<_>>().join(", ");
        part(self.shapes.len(), "of another shape", shapes);
        part(self.types.len(), "of an unknown type of numbers", self.types.join(", "));
        f.write_str(&parts.join("; "))
    }
}

/// The tensors of a file by their places in a network.
pub(crate) struct Fit {
    /// Names here, with the published ones in the file.
    pub(crate) sources: BTreeMap<String, String>,
    /// Names and shapes of the network's tensors.
    pub(crate) shapes: BTreeMap<String, Vec<usize>>,
    /// The file's tensors that are not needed.
    pub(crate) left: Vec<String>,
}

/// The file's tensors under their names here, and those that no rule knows.
pub(crate) struct Sorted {
    prefix: String,
    rules: &'static [Rules],
    pub(crate) sources: BTreeMap<String, String>,
    pub(crate) shapes: Shapes,
    left: Vec<String>,
    unknown: Vec<(String, Vec<usize>)>,
    types: Vec<String>,
}

/// Sorts the tensors of `weights` by the rules of `kind`.
pub(crate) fn sorted(weights: &Weights, kind: &Kind) -> Sorted {
    let Spelling { rules, prefix, .. } = Spelling::of(weights, kind, &[]);
    let (mut sources, mut shapes) = (BTreeMap::new(), Shapes::default());
    let (mut left, mut unknown) = (Vec::new(), Vec::new());
    for (name, shape) in weights.shapes() {
        let stripped = name.strip_prefix(prefix.as_str());
        let is_left = |name: &str| kind.left.iter().any(|start| name.starts_with(start));
        match stripped {
            // Tensors outside the wrapped network belong to the training, such as a loss.
            None => left.push(name.to_owned()),
            Some(stripped) if is_left(stripped) => left.push(name.to_owned()),
            Some(stripped) => match translated(stripped, rules) {
                Some(ours) if !sources.contains_key(&ours) => {
                    sources.insert(ours.clone(), name.to_owned());
                    shapes.0.insert(ours, shape.to_vec());
                }
                _ => unknown.push((name.to_owned(), shape.to_vec())),
            },
        }
    }
    Sorted { prefix, rules, sources, shapes, left, unknown, types: weights.unknown().to_vec() }
}

/// The place of each tensor in the network of `shapes`, or all that does not fit.
pub(crate) fn fit(sorted: Sorted, shapes: BTreeMap<String, Vec<usize>>) -> Result<Fit, Misfit> {
    let Sorted { prefix, rules, sources, shapes: found, mut left, unknown, types } = sorted;
    let theirs = |name: &str| match published(name, rules) {
        Some(published) => format!("{prefix}{published}"),
        None => name.to_owned(),
    };
    let missing = shapes.iter().filter(|(name, _)| !sources.contains_key(*name));
    let missing = missing.map(|(name, shape)| (theirs(name), shape.clone())).collect();
    let more = found.0.iter().filter(|(name, _)| !shapes.contains_key(*name));
    let more = more.map(|(name, shape)| (sources[name].clone(), shape.clone()));
    let unexpected = unknown.into_iter().chain(more).collect();
    let other = found.0.iter().filter_map(|(name, found)| {
        let expected = shapes.get(name).filter(|expected| trimmed(expected) != trimmed(found))?;
        Some((sources[name].clone(), found.clone(), expected.clone()))
    });
    let misfit = Misfit { missing, unexpected, shapes: other.collect(), ..Misfit::default() };
    if misfit == Misfit::default() {
        left.extend(types);
        return Ok(Fit { sources, shapes, left });
    }
    Err(Misfit { types, ..misfit })
}

/// `shape` without sizes of 1 at its end: a 1x1 convolution has the weights of a linear layer.
fn trimmed(shape: &[usize]) -> &[usize] {
    let length = shape.iter().rposition(|size| *size != 1).map_or(0, |last| last + 1);
    &shape[..length]
}

/// The shapes of tensors that the product of `kind` needs, where a whole network needs those of
/// `network`.
pub(crate) fn needed(kind: &Kind, network: BTreeMap<String, Vec<usize>>) -> BTreeMap<String, Vec<usize>> {
    match kind.product {
        Product::Checkpoint => network,
        Product::Backbone => network
            .into_iter()
            .filter_map(|(name, shape)| Some((name.strip_prefix("backbone.")?.to_owned(), shape)))
            .collect(),
    }
}
