//! How a dataset's label files are read: from values or colours to class indices.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use crate::decode::{Ids, Picture, read_colours, read_ids};
use crate::label_table::{LabelTable, Meaningless};
use crate::layout::cityscapes;
use crate::{
    Class, Error, IGNORE_LABEL, Image, LabelMap, LabelsBy, Layout, Manifest, Result, read_sbd_label,
};

/// How a dataset's label files are read.
#[derive(Clone, Debug)]
pub(crate) struct LabelCode {
    classes: Vec<Class>,
    /// The class of each colour, or [`IGNORE_LABEL`]; where values count, a palette is compared with them.
    colours: HashMap<[u8; 3], u8>,
    /// What values mean; nothing where colours count.
    table: Option<LabelTable>,
    /// Whether files hold Cityscapes' ids.
    cityscapes: bool,
    /// Whether 255 alone means not labelled, because the manifest says nothing else.
    ignores_255: bool,
}

impl LabelCode {
    /// How `manifest` says that they are read.
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let cityscapes = manifest.layout == Layout::Cityscapes;
        let table = match manifest.labels_by {
            LabelsBy::Value if cityscapes => Some(cityscapes::label_table()),
            LabelsBy::Value => Some(table(&manifest.classes, &manifest.ignored)),
            LabelsBy::Colour => None,
        };
        let by_default = |table: &LabelTable| table.meaning(IGNORE_LABEL) == Some(IGNORE_LABEL);
        // Where other values are ignored, these are what is not labelled.
        let free = manifest.has_free_labels() && manifest.ignored.is_empty();
        let ignores_255 = free && table.as_ref().is_some_and(by_default);
        let mut colours = colours(&manifest.classes);
        colours.extend(manifest.ignored_colours.iter().map(|colour| (*colour, IGNORE_LABEL)));
        Self { classes: manifest.classes.clone(), colours, table, cityscapes, ignores_255 }
    }

    /// That values are the indices of `classes`.
    pub(crate) fn of_classes(classes: &[Class]) -> Self {
        Self {
            colours: colours(classes),
            table: Some(table(classes, &[])),
            classes: classes.to_vec(),
            cityscapes: false,
            ignores_255: true,
        }
    }

    /// Whether 255 alone means not labelled, because the manifest says nothing else.
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
        // The layout of SBD alone gives this name, to files of its dataset/cls.
        let mat = path.extension().is_some_and(|extension| extension == "mat");
        let Ids { mut map, palette } =
            if mat { Ids { map: read_sbd_label(path)?, palette: Vec::new() } } else { read_ids(path)? };
        if self.cityscapes && cityscapes::are_training_ids(&map) {
            let reason = "holds training ids (0 to 18, 255), but ids (0 to 33) are expected: somebody wrote one kind \
                          over the other; take the original file, or make it again from the polygons";
            return Err(Error::TrainingIds { path: path.to_owned(), reason: reason.into() });
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
        })?;
        Ok(map)
    }

    /// `rows` of the label map in a PNG, in the memory of `buffer` if that fits. `None` where [`LabelCode::read`] has to
    /// say what is wrong.
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

    /// The classes of `colours`, three bytes for each pixel, or the first colour that has none, with its place.
    fn by_colour(&self, colours: &[u8], mut labels: Vec<u8>) -> Result<Vec<u8>, ([u8; 3], usize)> {
        labels.clear();
        // Neighbours are mostly alike.
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

    /// A value of `labels` that by its colour in `palette` is another class than by `table`, and that class, if the
    /// palette is that of the classes in another order.
    ///
    /// Palettes that have nothing to do with the classes are common, and so are some colours in common with them. So it
    /// counts only if most of the values that are there have colours of classes, and a colour that several values have,
    /// as the black that fills palettes, does not count.
    fn contradiction(&self, table: &LabelTable, palette: &[u8], labels: &[u8]) -> Option<(u8, u8)> {
        let colour =
            |value: u8| -> Option<[u8; 3]> { palette.get(3 * usize::from(value)..)?.first_chunk().copied() };
        let drawn =
            |value: u8| self.colours.get(&colour(value)?).copied().filter(|class| *class != IGNORE_LABEL);
        // By its own colour no class is contradicted, even if another one has the same.
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

/// What the values of `classes` mean.
fn table(classes: &[Class], ignored: &[u8]) -> LabelTable {
    let values = classes
        .iter()
        .zip(0_u8..)
        .flat_map(|(class, index)| class.values_at(index).into_iter().map(move |value| (value, index)));
    LabelTable::of_values(values, ignored)
}

/// The class of each colour; [`IGNORE_LABEL`] where several classes have it, so that it says nothing.
fn colours(classes: &[Class]) -> HashMap<[u8; 3], u8> {
    let mut colours: HashMap<[u8; 3], u8> = HashMap::new();
    for (class, index) in classes.iter().zip(0_u8..) {
        for colour in class.colours() {
            colours.entry(*colour).and_modify(|class| *class = IGNORE_LABEL).or_insert(index);
        }
    }
    colours
}
