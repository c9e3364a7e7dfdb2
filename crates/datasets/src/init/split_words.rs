//! Names of splits in the names of folders and lists.

/// Words for splits, longer ones before those they begin with, and the split's name here.
const WORDS: [(&str, &str); 7] = [
    ("training", "train"),
    ("train", "train"),
    ("validation", "val"),
    ("valid", "val"),
    ("val", "val"),
    ("testing", "test"),
    ("test", "test"),
];

/// Words that follow the name of a split directly, as in `trainannot`.
const KINDS: [&str; 12] = [
    "annot",
    "annotation",
    "annotations",
    "label",
    "labels",
    "mask",
    "masks",
    "gt",
    "image",
    "images",
    "img",
    "imgs",
];

/// The name here of the split called `word`.
pub(super) fn canonical(word: &str) -> Option<&'static str> {
    let lower = word.to_lowercase();
    WORDS.iter().find(|(known, _)| *known == lower).map(|(_, name)| *name)
}

/// The path of a folder with `{split}` in place of its split, and that name as the
/// path has it. A path without one stays unchanged.
///
/// `images/train` is `images/{split}`, and `Trainannot` is `{split}annot`.
pub(super) fn template(path: &str) -> (String, Option<String>) {
    let parts: Vec<&str> = path.split('/').collect();
    for (index, part) in parts.iter().enumerate() {
        if let Some((start, end)) = word_in(part) {
            let replaced = format!("{}{{split}}{}", &part[..start], &part[end..]);
            let mut parts: Vec<&str> = parts.clone();
            let word = part[start..end].to_owned();
            parts[index] = &replaced;
            return (parts.join("/"), Some(word));
        }
    }
    (path.to_owned(), None)
}

/// Where in the name of a folder the name of a split stands: alone, before or after a separator, or
/// before the kind of its files.
fn word_in(part: &str) -> Option<(usize, usize)> {
    if !part.is_ascii() {
        return None;
    }
    let lower = part.to_lowercase();
    WORDS.iter().find_map(|(word, _)| {
        let (length, all) = (word.len(), lower.len());
        if let Some(rest) = lower.strip_prefix(word)
            && (rest.is_empty() || rest.starts_with(['_', '-']) || KINDS.contains(&rest))
        {
            return Some((0, length));
        }
        let before = lower.strip_suffix(word)?;
        before.ends_with(['_', '-']).then_some((all - length, all))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_split_is_found_in_a_path() {
        for (path, form, word) in [
            ("train", "{split}", "train"),
            ("images/Training", "images/{split}", "Training"),
            ("validation/masks", "{split}/masks", "validation"),
            ("trainannot", "{split}annot", "train"),
            ("labels_test", "labels_{split}", "test"),
            ("val-images/a", "{split}-images/a", "val"),
        ] {
            assert_eq!(template(path), (form.to_owned(), Some(word.to_owned())), "{path}");
        }
        for path in ["", "images", "constraint", "trains", "contest", "latest", "valley"] {
            assert_eq!(template(path), (path.to_owned(), None));
        }
        assert_eq!(canonical("Validation"), Some("val"));
        assert_eq!(canonical("trainval"), None);
    }
}
