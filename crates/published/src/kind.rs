//! What is known about a kind of published checkpoint.

use std::collections::BTreeMap;

use robustseg_models::{NetworkConfig, NetworkSpec};

use crate::names::Rules;

/// A kind of published checkpoint: who trained it, and which network it holds.
#[derive(Debug)]
pub struct Kind {
    /// Its name on the command line.
    pub name: &'static str,
    /// The network and its program, for people.
    pub title: &'static str,
    /// What becomes of it.
    pub product: Product,
    /// Its names, and those here, in each way that its files spell them. Names of a backbone are
    /// without `backbone.`.
    pub(crate) spellings: &'static [&'static [Rules]],
    /// How the names of parts begin that are not needed: auxiliary heads, classifiers of images.
    pub(crate) left: &'static [&'static str],
    /// The network by the shapes of the tensors, under their names here. What they do not tell is
    /// as published: normalisation, upsampling, and sizes that the file lacks.
    pub(crate) network: fn(&Shapes) -> NetworkSpec,
}

/// What becomes of a published checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// A checkpoint of a whole network.
    Checkpoint,
    /// Weights of a backbone, from which a training starts: `model.pretrained` of a spec.
    Backbone,
}

/// Shapes of tensors under their names here.
#[derive(Debug, Default)]
pub(crate) struct Shapes(pub(crate) BTreeMap<String, Vec<usize>>);

impl Shapes {
    /// The first size of the tensor `name`: its channels.
    pub(crate) fn channels(&self, name: &str) -> Option<usize> {
        self.0.get(name)?.first().copied()
    }

    /// How many blocks there are, whose tensors are called `name` of 0, 1, 2 and so on.
    pub(crate) fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..self.0.len()).take_while(|index| self.0.contains_key(&name(*index))).count()
    }
}

impl Kind {
    /// The network of tensors of `shapes`.
    pub(crate) fn config(&self, shapes: &Shapes) -> NetworkConfig {
        let classes = CLASSIFIERS.iter().find_map(|name| shapes.channels(name)).unwrap_or(1);
        (self.network)(shapes).network(classes, Vec::new())
    }
}

/// The weights whose first axis are the classes, one of which a network has.
const CLASSIFIERS: [&str; 2] = ["classifier.weight", "decode_head.classifier.weight"];
