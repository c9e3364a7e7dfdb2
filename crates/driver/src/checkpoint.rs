//! Checkpoints given on the command line: their classes, and whether these match the data.

use std::path::Path;

use robustseg_datasets::Manifest;
use robustseg_models::{CheckpointClass, Origin};
use tracing::warn;

use crate::exit::BadData;
use crate::image_file::default_palette;

/// The classes of `manifest` in the form that checkpoints use.
pub(crate) fn classes(manifest: &Manifest) -> Vec<CheckpointClass> {
    let class = |class: &robustseg_datasets::Class| CheckpointClass {
        name: class.name.clone(),
        colour: class.colour,
    };
    manifest.classes.iter().map(class).collect()
}

/// Requires that the network in the checkpoint at `path`, with `num_classes` classes, was trained
/// for the classes of `manifest` in the same order. A checkpoint without class names gives a
/// warning. If `ignore` is true, only the number of classes must match. It is `None` for a command
/// without `--ignore-classes`.
///
/// # Errors
/// [`BadData`] that names the first class that differs.
pub(crate) fn require_classes(
    path: &Path,
    origin: &Origin,
    num_classes: usize,
    manifest: &Manifest,
    ignore: impl Into<Option<bool>>,
) -> Result<(), BadData> {
    let ignore = ignore.into();
    let (shown, data) = (path.display(), &manifest.name);
    if num_classes != manifest.num_classes() {
        let needed = manifest.num_classes();
        return Err(BadData(format!(
            "checkpoint {shown}: has {num_classes} classes, but the data {data} has {needed}; take the manifest that it \
             was trained with"
        )));
    }
    let Some(known) = &origin.classes else {
        warn!(
            "checkpoint {shown}: its classes are unknown, and taken to be those of the data {data} in the same order"
        );
        return Ok(());
    };
    let pairs = known.iter().map(|class| &class.name).zip(manifest.classes.iter().map(|class| &class.name));
    match pairs.enumerate().find(|(_, (has, needs))| has != needs) {
        Some((index, (has, needs))) if ignore != Some(true) => {
            let otherwise = match ignore {
                Some(_) => ", or --ignore-classes if the names alone differ",
                None => "",
            };
            Err(BadData(format!(
                "checkpoint {shown}: its class {index} is `{has}`, but class {index} of the data {data} is `{needs}`; \
                 take the manifest that it was trained with{otherwise}"
            )))
        }
        Some((index, (has, needs))) => {
            warn!("checkpoint {shown}: its class {index} is `{has}`, and counts as `{needs}`");
            Ok(())
        }
        None => Ok(()),
    }
}

/// The classes to draw for a network with `num_classes` classes. They come from `manifest`, else
/// from its checkpoint's `origin`. Without either, they are numbers in PASCAL VOC's colours.
pub(crate) fn drawn_classes(
    manifest: Option<&Manifest>,
    origin: &Origin,
    num_classes: usize,
) -> Vec<CheckpointClass> {
    let numbered = |(index, colour)| CheckpointClass { name: format!("class {index}"), colour };
    manifest.map(classes).or_else(|| origin.classes.clone()).unwrap_or_else(|| {
        default_palette().into_iter().take(num_classes).enumerate().map(numbered).collect()
    })
}

/// The colours of `classes`.
pub(crate) fn palette(classes: &[CheckpointClass]) -> Vec<[u8; 3]> {
    classes.iter().map(|class| class.colour).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(names: &[&str]) -> Manifest {
        let classes: Vec<String> =
            names.iter().map(|name| format!("{{name: {name}, colour: [0, 0, 0]}}")).collect();
        let text = format!(
            "name: d\nfolder: d\nlayout:\n  synthetic: {{height: 16, width: 16, seed: 1}}\nclasses: [{}]\nsplits: {{train: \
             {{count: 1}}}}\ncitation: c\nlicence: l\nobtain: o\n",
            classes.join(", ")
        );
        Manifest::parse(&text, Path::new("m.yaml")).unwrap()
    }

    #[test]
    fn the_first_class_that_differs_is_named_and_a_flag_overrides() {
        let check = |origin: &Origin, names: &[&str], ignore| {
            let result = require_classes(Path::new("c.safetensors"), origin, 3, &manifest(names), ignore);
            result.map_err(|error| error.to_string())
        };
        let classes = Some(classes(&manifest(&["a", "b", "c"])));
        let known = Origin { classes, ..Origin::default() };
        assert_eq!(check(&known, &["a", "b", "c"], false), Ok(()));
        let swapped = check(&known, &["a", "c", "b"], false).unwrap_err();
        assert!(swapped.contains("its class 1 is `b`, but class 1 of the data d is `c`"), "{swapped}");
        assert!(swapped.contains("--ignore-classes"), "{swapped}");
        assert_eq!(check(&known, &["a", "c", "b"], true), Ok(()));
        assert_eq!(check(&Origin::default(), &["a", "c", "b"], false), Ok(()));
        for ignore in [false, true] {
            assert!(check(&known, &["a", "b"], ignore).unwrap_err().contains("has 3 classes"));
        }
    }
}
