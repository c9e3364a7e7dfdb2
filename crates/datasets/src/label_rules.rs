//! A manifest's rules for label files: which values or colours belong to which class.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::class::Class;
use crate::error::Refusal;
use crate::image::IGNORE_LABEL;

/// How label files tell classes apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LabelsBy {
    /// By gray values or palette indices. A palette that assigns the classes' colours to other
    /// classes is an error.
    #[default]
    Value,
    /// By colours, as in RGB masks. The indices of a palette then have no meaning. For layouts that
    /// leave the meaning of label files to the manifest.
    Colour,
}

impl LabelsBy {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(crate) fn is_value(&self) -> bool {
        *self == Self::Value
    }
}

/// The part of a manifest about the meaning of label files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LabelRules<'a> {
    pub(crate) classes: &'a [Class],
    pub(crate) labels_by: LabelsBy,
    /// Values that mean not labelled.
    pub(crate) ignored: &'a [u8],
    /// Colours that mean not labelled.
    pub(crate) ignored_colours: &'a [[u8; 3]],
}

impl LabelRules<'_> {
    /// Checks that each value or colour has a single meaning. `free` means that the layout leaves
    /// the meaning of label files to the manifest.
    pub(crate) fn validate(&self, free: bool) -> Result<(), Refusal> {
        self.validate_classes()?;
        match self.labels_by {
            LabelsBy::Value => {
                self.validate_values(free)?;
                self.refuse_colours()
            }
            LabelsBy::Colour => {
                self.refuse_values()?;
                self.validate_colours(free)
            }
        }
    }

    fn validate_classes(&self) -> Result<(), Refusal> {
        let refuse = |reason: String| Err(Refusal::new("classes", reason));
        match self.classes.len() {
            1 => {
                return refuse(
                    "expected at least 2, found 1; with a single class every prediction is right: make its surroundings a \
                     class too"
                        .into(),
                );
            }
            classes if !(2..=usize::from(IGNORE_LABEL)).contains(&classes) => {
                return refuse(format!("expected 2 to 255 of them, found {classes}"));
            }
            _ => {}
        }
        let mut names = BTreeSet::new();
        match self.classes.iter().find(|class| !names.insert(&class.name)) {
            Some(class) => refuse(format!("`{}` stands there twice", class.name)),
            None => Ok(()),
        }
    }

    fn validate_values(&self, free: bool) -> Result<(), Refusal> {
        if let Some(class) = self.with_values().filter(|_| !free) {
            let reason = format!("this layout knows the values, `{}` must not have one", class.name);
            return Err(Refusal::new("classes", reason));
        }
        let mut values = BTreeSet::new();
        for (class, index) in self.classes.iter().zip(0..) {
            let name = &class.name;
            for value in class.values_at(index) {
                if self.ignored.contains(&value) {
                    return Err(Refusal::new("ignored", format!("{value} is the class `{name}`")));
                }
                if !values.insert(value) {
                    return Err(Refusal::new(
                        "classes",
                        format!("the value {value} of `{name}` occurs twice"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn validate_colours(&self, free: bool) -> Result<(), Refusal> {
        if !free {
            return Err(Refusal::new("labels_by", "this layout knows how its labels are read"));
        }
        let mut colours = BTreeSet::new();
        for class in self.classes {
            let name = &class.name;
            for colour in class.colours() {
                if self.ignored_colours.contains(colour) {
                    return Err(Refusal::new("ignored_colours", format!("{colour:?} is the class `{name}`")));
                }
                if !colours.insert(colour) {
                    let reason = format!("the colour {colour:?} of `{name}` occurs twice");
                    return Err(Refusal::new("classes", reason));
                }
            }
        }
        Ok(())
    }

    fn refuse_values(&self) -> Result<(), Refusal> {
        if let Some(class) = self.with_values() {
            let reason = format!("`{}` has a value, but labels_by is colour", class.name);
            return Err(Refusal::new("classes", reason));
        }
        if !self.ignored.is_empty() {
            return Err(Refusal::new("ignored", "labels_by is colour, so it has to be ignored_colours"));
        }
        Ok(())
    }

    fn refuse_colours(&self) -> Result<(), Refusal> {
        if let Some(class) = self.classes.iter().find(|class| !class.label_colours.is_empty()) {
            let reason = format!("`{}` has label_colours, but labels_by is not colour", class.name);
            return Err(Refusal::new("classes", reason));
        }
        if !self.ignored_colours.is_empty() {
            return Err(Refusal::new("ignored_colours", "labels_by is not colour"));
        }
        Ok(())
    }

    /// The first class with explicit values.
    fn with_values(&self) -> Option<&Class> {
        self.classes.iter().find(|class| !class.values.is_empty())
    }
}
