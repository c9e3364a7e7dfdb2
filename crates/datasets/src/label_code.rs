//! Reads label files: converts values or colours to class indices.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use crate::class::Class;
use crate::decode::{Ids, Picture, read_colours, read_ids};
use crate::error::{Error, Result};
use crate::image::{IGNORE_LABEL, Image, LabelMap};
use crate::label_rules::{LabelRules, LabelsBy};
use crate::label_table::{LabelTable, Meaningless};
use crate::layout::{IdFiles, Labels, Mixup, id_files};
use crate::mat::read_sbd_label;

/// How to read a dataset's label files.
#[derive(Clone, Debug)]
pub(crate) struct LabelCode {
    classes: Vec<Class>,
    /// The class of each colour, or [`IGNORE_LABEL`]. If values count, a palette is compared with
    /// these colours.
    colours: HashMap<[u8; 3], u8>,
    /// The meaning of values. `None` if colours count.
    table: Option<LabelTable>,
    /// Detects a file with other values than expected, even though all of them have a meaning.
    refuse: fn(&LabelMap) -> Option<Mixup>,
    /// Whether only 255 means not labelled, because the manifest says nothing else.
    ignores_255: bool,
}

impl LabelCode {
    /// For a layout with these `labels` and a manifest with these `rules`.
    pub(crate) fn new(labels: Labels, rules: &LabelRules<'_>) -> Self {
        let free = matches!(labels, Labels::OfManifest);
        let (table, refuse) = match labels {
            Labels::Ids { table, refuse } => (Some(table()), refuse),
            Labels::OfManifest | Labels::Indices => {
                let by_value = || table(rules.classes, rules.ignored);
                (rules.labels_by.is_value().then(by_value), nothing as fn(&LabelMap) -> Option<Mixup>)
            }
        };
        let by_default = |table: &LabelTable| table.meaning(IGNORE_LABEL) == Some(IGNORE_LABEL);
        // If the manifest ignores other values, these are the unlabelled ones.
        let ignores_255 = free && rules.ignored.is_empty() && table.as_ref().is_some_and(by_default);
        let mut colours = colours(rules.classes);
        colours.extend(rules.ignored_colours.iter().map(|colour| (*colour, IGNORE_LABEL)));
        Self { classes: rules.classes.to_vec(), colours, table, refuse, ignores_255 }
    }

    /// Values are the indices of `classes`.
    pub(crate) fn of_classes(classes: &[Class]) -> Self {
        let (labels_by, ignored, ignored_colours) = (LabelsBy::Value, &[][..], &[][..]);
        Self::new(Labels::OfManifest, &LabelRules { classes, labels_by, ignored, ignored_colours })
    }

    /// Whether only 255 means not labelled, because the manifest says nothing else.
    pub(crate) fn ignores_255(&self) -> bool {
        self.ignores_255
    }

    /// The label map in the file `path`: class indices and [`IGNORE_LABEL`].
    pub(crate) fn read(&self, path: &Path) -> Result<LabelMap> {
        let Some(table) = &self.table else {
            let Image { width, height, data } = read_colours(path)?;
            let labels = self.by_colour(&data, Vec::new()).map_err(|(colour, pixel)| {
                let (x, y) = (pixel % width, pixel / width);
                Error::LabelColour { path: path.to_owned(), colour, x, y }
            })?;
            return Ok(LabelMap { width, height, data: labels });
        };
        // Only SBD publishes label files of this name.
        let mat = path.extension().is_some_and(|extension| extension == "mat");
        let Ids { mut map, palette } =
            if mat { Ids { map: read_sbd_label(path)?, palette: Vec::new() } } else { read_ids(path)? };
        if let Some(mixup) = (self.refuse)(&map) {
            return Err(mixup.of(path));
        }
        if let Some((value, drawn)) = self.contradiction(table, &palette, &map.data) {
            let named = |class: u8| {
                let class = &self.classes[usize::from(class)];
                (class.name.clone(), class.colour)
            };
            let (drawn, drawn_colour) = named(drawn);
            let means = table.meaning(value).map(named);
            return Err(Error::Palette { path: path.to_owned(), value, drawn, drawn_colour, means });
        }
        table.apply(&mut map).map_err(|Meaningless { value, x, y }| Error::LabelValue {
            path: path.to_owned(),
            value,
            x,
            y,
            classes: self.classes.len(),
            advice: id_files(path).map(|files| {
                let IdFiles { content, instead, .. } = files;
                format!("by its name it holds {content}: {instead}")
            }),
        })?;
        Ok(map)
    }

    /// Some `rows` of the label map in a PNG, in the memory of `buffer` if that fits. `None` if
    /// [`LabelCode::read`] has to report a fault.
    pub(crate) fn rows(&self, picture: &Picture<'_>, rows: Range<usize>, buffer: Vec<u8>) -> Option<Vec<u8>> {
        let Some(table) = &self.table else {
            return self.by_colour(&picture.colours(rows, Vec::new())?, buffer).ok();
        };
        let Ids { mut map, palette } = picture.ids(rows, buffer)?;
        if self.contradiction(table, &palette, &map.data).is_some() {
            return None;
        }
        table.apply(&mut map).ok()?;
        Some(map.data)
    }

    /// The classes of `colours`, three bytes per pixel, or the first colour without a class and its
    /// position.
    fn by_colour(&self, colours: &[u8], mut labels: Vec<u8>) -> Result<Vec<u8>, ([u8; 3], usize)> {
        labels.clear();
        // Neighbouring pixels are mostly equal.
        let mut last = None;
        for (pixel, colour) in colours.chunks_exact(3).enumerate() {
            let colour = [colour[0], colour[1], colour[2]];
            let label = match last {
                Some((same, label)) if same == colour => label,
                _ => *self.colours.get(&colour).ok_or((colour, pixel))?,
            };
            last = Some((colour, label));
            labels.push(label);
        }
        Ok(labels)
    }

    /// Finds a value of `labels` that has one class by its colour in `palette` and another by
    /// `table`. Returns the value and the class of its colour, if the palette contains the classes'
    /// colours in another order.
    ///
    /// Unrelated palettes are common, and may share some colours with the classes. A contradiction
    /// therefore counts only if most values that occur have colours of classes. A colour of
    /// several values, such as the black that fills palettes, does not count.
    fn contradiction(&self, table: &LabelTable, palette: &[u8], labels: &[u8]) -> Option<(u8, u8)> {
        let colour =
            |value: u8| -> Option<[u8; 3]> { palette.get(3 * usize::from(value)..)?.first_chunk().copied() };
        let drawn =
            |value: u8| self.colours.get(&colour(value)?).copied().filter(|class| *class != IGNORE_LABEL);
        // A value with its own class's colour is not a contradiction, even if another class has the
        // same colour.
        let is_own = |value: u8| {
            let own = table.meaning(value).and_then(|class| self.classes.get(usize::from(class)));
            own.is_some_and(|class| Some(class.colour) == colour(value))
        };
        let contradicts = |value: u8| {
            let drawn =
                drawn(value).filter(|class| table.meaning(value) != Some(*class) && !is_own(value))?;
            (table.meaning(value) != Some(IGNORE_LABEL)).then_some(drawn)
        };
        if !(0..=u8::MAX).any(|value| contradicts(value).is_some()) {
            return None;
        }
        let mut is_there = [false; 256];
        for label in labels {
            is_there[usize::from(*label)] = true;
        }
        let labelled: Vec<u8> = (0..=u8::MAX)
            .filter(|value| is_there[usize::from(*value)] && table.meaning(*value) != Some(IGNORE_LABEL))
            .collect();
        let is_alone =
            |value: u8| labelled.iter().filter(|other| colour(**other) == colour(value)).count() == 1;
        let of_classes = labelled
            .iter()
            .filter(|value| is_alone(**value) && (drawn(**value).is_some() || is_own(**value)))
            .count();
        let (value, class) = labelled
            .iter()
            .filter(|value| is_alone(**value))
            .find_map(|value| Some((*value, contradicts(*value)?)))?;
        (2 * of_classes > labelled.len()).then_some((value, class))
    }
}

/// Never finds a mix-up.
fn nothing(_: &LabelMap) -> Option<Mixup> {
    None
}

/// The meaning of the values of `classes`.
fn table(classes: &[Class], ignored: &[u8]) -> LabelTable {
    let values = classes
        .iter()
        .zip(0_u8..)
        .flat_map(|(class, index)| class.values_at(index).into_iter().map(move |value| (value, index)));
    LabelTable::of_values(values, ignored)
}

/// The class of each colour, or [`IGNORE_LABEL`] if several classes share the colour and it is
/// ambiguous.
fn colours(classes: &[Class]) -> HashMap<[u8; 3], u8> {
    let mut colours: HashMap<[u8; 3], u8> = HashMap::new();
    for (class, index) in classes.iter().zip(0_u8..) {
        for colour in class.colours() {
            colours.entry(*colour).and_modify(|class| *class = IGNORE_LABEL).or_insert(index);
        }
    }
    colours
}
