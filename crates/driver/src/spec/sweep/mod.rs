//! A sweep: a file that describes many specs as a grid of named axes.
//!
//! The spec of a run is made of layers, the lowest first: the bases of the sweep, the bases of its
//! values in the order of the axes, `set`, the values in the order of the axes, and `--set`.

mod axis;
mod exclusion;
mod schema;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use robustseg_words::{counted, unknown_key};

use self::axis::{Axis, AxisValue};
use self::exclusion::Exclusion;
use super::document::{Entry, Node, Value};
use super::fault::{Fault, SpecError};
use super::layers::{BASE, bases_of};
use super::{Spec, read};

/// The key that makes a file a sweep.
pub(super) const AXES: &str = "axes";

/// The most runs of a sweep. Slurm's job arrays have as many by default.
pub const MOST: usize = 1000;

/// The name of the folder for everything about a sweep that is no run. No run may have it.
pub(crate) const OWN_FOLDER: &str = "sweep";

/// The name of the folder of comparisons, or its beginning. No run may have it.
pub(crate) const COMPARISON: &str = "compare";

/// A grid of runs.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The sweep's name.
    pub name: String,
    /// The runs. The last axis varies fastest.
    pub members: Vec<Member>,
}

/// A run of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The names of its values, joined by `-`. It is also the name of its folder.
    pub name: String,
    /// The names of axes and values.
    pub values: Vec<(String, String)>,
    /// The spec, with absolute paths. Its name is the sweep's and the run's.
    pub spec: Spec,
}

impl Sweep {
    /// Reads the sweep at `path` with `overrides` (`key.path=value`) on every run, and checks the
    /// specs of all runs.
    ///
    /// # Errors
    /// With line and column if the file is not a sweep, if a run's spec is wrong, or if two runs are
    /// the same.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self, SpecError> {
        let content = |fault| SpecError::Content { path: path.to_owned(), fault };
        let root = Node::parse(&read(path)?).map_err(content)?;
        let grid = Grid::of(root, path)?;
        let members = grid.combinations().map(|values| grid.member(&values, path, overrides));
        let members = members.collect::<Result<Vec<_>, _>>()?;
        grid.require_different(&members).map_err(content)?;
        let Value::Text(name) = grid.name.value else { unreachable!("checked as the grid was read") };
        Ok(Self { name, members })
    }
}

/// The parts of a sweep's file.
struct Grid {
    name: Node,
    bases: Vec<Node>,
    set: Option<Node>,
    axes: Vec<Axis>,
    exclusions: Vec<Exclusion>,
}

impl Grid {
    fn of(mut root: Node, path: &Path) -> Result<Self, SpecError> {
        let content = |fault| SpecError::Content { path: path.to_owned(), fault };
        let bases = trees(bases_of(path, &mut root)?);
        let place = root.place.clone();
        let Value::Map(entries) = root.value else {
            return Err(content(Fault::new("expected the keys of a sweep").at(&place)));
        };
        let (mut name, mut set, mut axes, mut exclude) = (None, None, None, None);
        for Entry { key, place, node, .. } in entries {
            match key.as_str() {
                "name" => name = Some(node),
                "set" => set = Some(node),
                AXES => axes = Some(node),
                "exclude" => exclude = Some(node),
                other => {
                    let known = ["name", BASE, "set", AXES, "exclude"];
                    return Err(content(Fault::new(unknown_key(other, &known)).at(&place)));
                }
            }
        }
        let missing = |key: &str| content(Fault::new(format!("key `{key}` is missing")).at(&place));
        let name = name.ok_or_else(|| missing("name"))?;
        let Value::Text(text) = &name.value else {
            return Err(content(Fault::new("expected text; put it in quotes").under("name", &name.place)));
        };
        super::ranges::name(text).map_err(|fault| content(fault.at(&name.place)))?;
        if let Some(node) = &set {
            node.require_layer().map_err(|fault| content(fault.under("set", &node.place)))?;
        }
        let axes = axis::read(axes.ok_or_else(|| missing(AXES))?, path)?;
        let exclusions = exclude.map_or(Ok(Vec::new()), |node| exclusion::read(&node, &axes));
        Ok(Self { name, bases, set, axes, exclusions: exclusions.map_err(content)? })
    }

    /// The values of every run that is not excluded.
    fn combinations(&self) -> impl Iterator<Item = Vec<&AxisValue>> {
        let count: usize = self.axes.iter().map(|axis| axis.values.len()).product();
        let values = move |mut number: usize| {
            let mut values: Vec<&AxisValue> = Vec::new();
            for axis in self.axes.iter().rev() {
                values.insert(0, &axis.values[number % axis.values.len()]);
                number /= axis.values.len();
            }
            values
        };
        let excluded = |values: &[&AxisValue]| self.exclusions.iter().any(|rule| rule.applies(values));
        (0..count).map(values).filter(move |values| !excluded(values))
    }

    fn member(&self, values: &[&AxisValue], path: &Path, overrides: &[String]) -> Result<Member, SpecError> {
        let names: Vec<&str> = values.iter().map(|value| value.name.as_str()).collect();
        let name = names.join("-");
        let content = |fault: Fault| SpecError::Content {
            path: path.to_owned(),
            fault: fault.with_advice(&format!("this is the run {name}")),
        };
        let mut tree = Node { value: Value::Map(Vec::new()), place: self.name.place.clone() };
        let of_values = values.iter().flat_map(|value| &value.bases);
        let layers = self.bases.iter().chain(of_values).chain(&self.set);
        let layers = layers.chain(values.iter().filter_map(|value| value.layer.as_ref()));
        let mut number = 0;
        for layer in layers {
            number += 1;
            tree.merge(layer.clone(), number, &mut Vec::new());
        }
        for argument in overrides {
            number += 1;
            tree.set(argument, number).map_err(content)?;
        }
        if let Some(entry) = tree.entry("name") {
            let what = "a sweep names its runs; leave `name` to it";
            return Err(content(Fault::new(what).under("name", &entry.place)));
        }
        self.require_free(&name).map_err(content)?;
        tree.put_name(&self.name, &name);
        let mut spec = Spec::of(&tree).map_err(content)?;
        spec.resolve_from(path, &tree)?;
        let axes = self.axes.iter().map(|axis| axis.name.clone());
        Ok(Member { values: axes.zip(names.into_iter().map(str::to_owned)).collect(), name, spec })
    }

    /// Refuses the name of a folder that is not a run's.
    fn require_free(&self, name: &str) -> Result<(), Fault> {
        let own = name == OWN_FOLDER || name == COMPARISON || name.starts_with(&format!("{COMPARISON}-"));
        let place = &self.axes[0].place;
        let refuse = || Fault::new(format!("no run can be named {name}, which names a folder of the sweep"));
        if own { Err(refuse().under(AXES, place)) } else { Ok(()) }
    }

    /// Refuses two runs of one spec, or of one name.
    fn require_different(&self, members: &[Member]) -> Result<(), Fault> {
        let place = self.axes.first().map_or(&self.name.place, |axis| &axis.place);
        let refuse = |what: String| Err(Fault::new(what).under(AXES, place));
        if members.is_empty() {
            return refuse("every run is excluded".into());
        }
        let (mut names, mut specs) = (HashSet::new(), HashMap::new());
        for member in members {
            let name = &member.name;
            if !names.insert(name) {
                return refuse(format!("two runs are named {name}; give a value another name"));
            }
            let spec = Spec { name: String::new(), ..member.spec.clone() };
            let text = spec.to_yaml().map_err(|error| Fault::new(error.to_string()))?;
            if let Some(other) = specs.insert(text, name) {
                return refuse(format!(
                    "{other} and {name} are the same run; take a value out, or name the runs to leave out in `exclude`"
                ));
            }
        }
        Ok(())
    }
}

impl Node {
    /// The entry `key` of this map.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key)
    }

    /// Refuses anything but a part of a spec.
    fn require_layer(&self) -> Result<(), Fault> {
        match &self.value {
            Value::Map(_) => Ok(()),
            _ => {
                Err(Fault::new("expected keys of a spec, for example {training: {epochs: 3}}")
                    .at(&self.place))
            }
        }
    }

    /// Names the spec after the `sweep` and the `run`.
    fn put_name(&mut self, sweep: &Node, run: &str) {
        let (Value::Map(entries), Value::Text(name)) = (&mut self.value, &sweep.value) else { return };
        let node = Node { value: Value::Text(format!("{name}-{run}")), place: sweep.place.clone() };
        entries.push(Entry { key: "name".into(), place: sweep.place.clone(), node, layer: 0 });
    }
}

/// The trees of bases without their paths.
fn trees(bases: Vec<(PathBuf, Node)>) -> Vec<Node> {
    bases.into_iter().map(|(_, node)| node).collect()
}

/// Refuses more runs than a sweep can have.
fn require_few(axes: &[Axis]) -> Result<(), Fault> {
    let sizes = axes.iter().map(|axis| axis.values.len());
    let count = sizes.fold(1_usize, usize::saturating_mul);
    if count <= MOST {
        return Ok(());
    }
    let what = format!("the grid has {}; a sweep can have {MOST}", counted(count as u64, "run"));
    Err(Fault::new(what).under(AXES, &axes[0].place))
}

#[cfg(test)]
mod tests;
