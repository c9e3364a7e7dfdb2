//! The classes of a dataset, from the content of its label files and from texts that name them.

use std::collections::BTreeMap;

use super::labels::{Content, Seen};
use super::names::{Named, Names};
use crate::class::Class;
use crate::image::IGNORE_LABEL;
use crate::label_rules::LabelsBy;
use crate::manifest::Manifest;

/// Names of what is not labelled, in small letters.
const VOID: [&str; 8] =
    ["void", "unlabeled", "unlabelled", "ignore", "ignored", "unknown", "don't care", "unannotated"];

/// Fills in the classes of `manifest`, and what is ignored.
///
/// # Errors
/// The reason why the labels make no classes.
pub(super) fn fill(
    manifest: &mut Manifest,
    labels: Seen,
    names: Vec<Names>,
    seen: &mut Vec<String>,
    guesses: &mut Vec<String>,
) -> Result<(), String> {
    match labels.content {
        Content::Values { pixels, palette } => by_value(manifest, &pixels, &palette, names, seen, guesses),
        Content::Colours(colours) => by_colour(manifest, &colours, names, seen, guesses),
    }
    match manifest.classes.len() {
        0 | 1 => Err("the label files have a single value; a dataset needs two classes".into()),
        256.. => Err("the label files have 256 values, one of which must mean not labelled".into()),
        _ => Ok(()),
    }
}

fn by_value(
    manifest: &mut Manifest,
    pixels: &[u64],
    palette: &[[u8; 3]],
    names: Vec<Names>,
    seen: &mut Vec<String>,
    guesses: &mut Vec<String>,
) {
    let there: Vec<u8> = (0..=u8::MAX).filter(|value| pixels[usize::from(*value)] > 0).collect();
    seen.push(format!("label values {}", ranges(&there)));
    let is_mask = matches!(there[..], [0, IGNORE_LABEL]);
    let labelled: Vec<u8> = there.iter().copied().filter(|value| is_mask || *value != IGNORE_LABEL).collect();
    if there.contains(&IGNORE_LABEL) && !is_mask {
        guesses.push("255 means not labelled".into());
    }
    let found = names.into_iter().find_map(|names| Some((assign(&names.classes, &labelled)?, names.path)));
    let mut classes: Vec<(u8, Named)> = if let Some((classes, path)) = found {
        seen.push(format!("names of the classes from {path}"));
        classes
    } else if let [background, object] = labelled[..] {
        guesses.push(format!("the classes are called background ({background}) and object ({object})"));
        [background, object]
            .into_iter()
            .zip(["background", "object"])
            .map(|(value, name)| (value, Named { name: name.into(), ..Named::default() }))
            .collect()
    } else {
        guesses.push("no text names the classes: each is called after its value".into());
        if labelled.len() > 2 && !there.contains(&IGNORE_LABEL) {
            guesses
                .push("all values are classes; if one means not labelled, write it under `ignored`".into());
        }
        let name = |value: &u8| (*value, Named { name: format!("class_{value}"), ..Named::default() });
        labelled.iter().map(name).collect()
    };
    classes.retain(|(value, class)| {
        let is_void = VOID.contains(&class.name.to_lowercase().as_str());
        if is_void {
            guesses.push(format!("`{}` ({value}) means not labelled", class.name));
            manifest.ignored.push(*value);
        }
        !is_void
    });
    manifest.ignored.retain(|value| *value != IGNORE_LABEL);
    let has_palette = labelled.iter().all(|value| palette.len() > usize::from(*value))
        && labelled.windows(2).any(|pair| palette[usize::from(pair[0])] != palette[usize::from(pair[1])]);
    let indices = classes.iter().zip(0..=u8::MAX).all(|((value, _), index)| *value == index);
    let colour = |value: u8, class: &Named| match class.colour {
        Some(colour) => colour,
        None if has_palette => palette.get(usize::from(value)).copied().unwrap_or_else(|| distinct(value)),
        None => distinct(value),
    };
    manifest.classes = classes
        .into_iter()
        .map(|(value, class)| Class {
            colour: colour(value, &class),
            name: class.name,
            values: if indices { Vec::new() } else { vec![value] },
            label_colours: Vec::new(),
        })
        .collect();
    different(&mut manifest.classes);
}

/// The value of each of the named classes, if all `labelled` values have one: the value that is
/// written, else the place in the list, else the values in their order.
fn assign(classes: &[Named], labelled: &[u8]) -> Option<Vec<(u8, Named)>> {
    let with = |values: Vec<u8>| -> Option<Vec<(u8, Named)>> {
        let known = labelled.iter().all(|value| values.contains(value));
        known.then(|| values.into_iter().zip(classes.iter().cloned()).collect())
    };
    let written: Option<Vec<u8>> = classes.iter().map(|class| class.value).collect();
    let places: Option<Vec<u8>> = (0..classes.len()).map(|place| u8::try_from(place).ok()).collect();
    let in_order = (classes.len() == labelled.len()).then(|| labelled.to_vec());
    [written, places, in_order].into_iter().flatten().find_map(with)
}

fn by_colour(
    manifest: &mut Manifest,
    colours: &BTreeMap<[u8; 3], u64>,
    names: Vec<Names>,
    seen: &mut Vec<String>,
    guesses: &mut Vec<String>,
) {
    manifest.labels_by = LabelsBy::Colour;
    seen.push(format!("{} in the label files", robustseg_words::counted(colours.len(), "colour")));
    let known = |names: &Names| {
        let colours_of: Vec<_> = names.classes.iter().filter_map(|class| class.colour).collect();
        colours_of.iter().filter(|colour| colours.contains_key(*colour)).count()
    };
    let best = names.into_iter().max_by_key(known).filter(|names| known(names) > 0);
    let mut classes: Vec<Named> = Vec::new();
    if let Some(names) = best {
        seen.push(format!("names of the classes from {}", names.path));
        classes.extend(names.classes.into_iter().filter(|class| class.colour.is_some()));
    } else {
        guesses.push("no text names the colours: each class is called after its colour".into());
    }
    for colour in colours.keys() {
        if classes.iter().all(|class| class.colour != Some(*colour)) {
            let [red, green, blue] = colour;
            let name = format!("colour_{red}_{green}_{blue}");
            classes.push(Named { name, value: None, colour: Some(*colour) });
        }
    }
    for Named { name, colour, .. } in classes {
        let Some(colour) = colour else { continue };
        if VOID.contains(&name.to_lowercase().as_str()) {
            guesses.push(format!("`{name}` {colour:?} means not labelled"));
            manifest.ignored_colours.push(colour);
        } else {
            manifest.classes.push(Class { name, colour, values: Vec::new(), label_colours: Vec::new() });
        }
    }
    if manifest.ignored_colours.is_empty() {
        guesses.push(
            "all colours are classes; if one means not labelled, write it under `ignored_colours`".into(),
        );
    }
    different(&mut manifest.classes);
}

/// Numbers the classes of one name.
fn different(classes: &mut [Class]) {
    for index in 1..classes.len() {
        let (before, rest) = classes.split_at_mut(index);
        let taken = |name: &str| before.iter().any(|class| class.name == name);
        let class = &mut rest[0];
        let mut number = 2;
        let name = class.name.clone();
        while taken(&class.name) {
            class.name = format!("{name}_{number}");
            number += 1;
        }
    }
}

/// The colour of `value` in the palette of PASCAL VOC: its bits, spread over the channels.
fn distinct(value: u8) -> [u8; 3] {
    let channel = |channel: u32| {
        (0..3).fold(0, |colour, place| {
            let bit = value.checked_shr(3 * place + channel).unwrap_or(0) & 1;
            colour | bit << (7 - place)
        })
    };
    [channel(0), channel(1), channel(2)]
}

/// Values in words: `0 to 11, 255`.
fn ranges(values: &[u8]) -> String {
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*value) => *last = *value,
            _ => runs.push((*value, *value)),
        }
    }
    let run = |(first, last): &(u8, u8)| {
        if first == last { first.to_string() } else { format!("{first} to {last}") }
    };
    runs.iter().map(run).collect::<Vec<_>>().join(", ")
}
