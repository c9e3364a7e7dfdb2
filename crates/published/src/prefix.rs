//! Prefixes that wrappers put before all names.

use robustseg_models::WRAPPERS;

/// How many wrappers may lie in each other.
const DEEPEST: usize = 3;

/// The prefix of wrappers without which most of `names` are `known`; the shortest of several.
pub(crate) fn prefix<'a>(
    names: &(impl Iterator<Item = &'a str> + Clone),
    known: impl Fn(&str) -> bool,
) -> (String, usize) {
    let mut prefixes = vec![String::new()];
    let mut level = prefixes.clone();
    for _ in 0..DEEPEST {
        let longer = level.iter().flat_map(|prefix| WRAPPERS.map(|wrapper| format!("{prefix}{wrapper}.")));
        level = longer.filter(|prefix| names.clone().any(|name| name.starts_with(prefix.as_str()))).collect();
        prefixes.extend(level.iter().cloned());
    }
    let mut best = (String::new(), 0);
    for prefix in prefixes {
        let stripped = names.clone().filter_map(|name| name.strip_prefix(prefix.as_str()));
        let count = stripped.filter(|name| known(name)).count();
        if count > best.1 {
            best = (prefix, count);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_with_most_known_names_is_found() {
        let known = |name: &str| name.starts_with("conv") || name.starts_with("backbone.conv");
        for (names, expected) in [
            (&["conv1", "conv2"][..], ("", 2)),
            (&["module.conv1", "module.conv2", "criterion.weight"], ("module.", 2)),
            (&["module._orig_mod.conv1"], ("module._orig_mod.", 1)),
            (&["model.backbone.conv1", "conv"], ("", 1)),
            (&["encoder.conv1", "encoder.conv2", "decoder.conv"], ("encoder.", 2)),
            (&["model.backbone.conv1", "model.conv"], ("model.", 2)),
            (&["other"], ("", 0)),
        ] {
            let (prefix, count) = prefix(&names.iter().copied(), known);
            assert_eq!((prefix.as_str(), count), expected, "{names:?}");
        }
    }
}
