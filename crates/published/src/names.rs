//! Patterns of tensors' names.

/// Pairs of patterns: how a published checkpoint begins a name, and how a checkpoint here does. In
/// a pattern `{}` stands for one part between dots, the same in both.
pub(crate) type Rules = &'static [(&'static str, &'static str)];

/// The name here of the published tensor `name`, by the first rule that fits its beginning.
pub(crate) fn translated(name: &str, rules: &[Rules]) -> Option<String> {
    rules.iter().copied().flatten().find_map(|(theirs, ours)| exchanged(name, theirs, ours))
}

/// The published name of the tensor called `name` here.
pub(crate) fn published(name: &str, rules: &[Rules]) -> Option<String> {
    rules.iter().copied().flatten().find_map(|(theirs, ours)| exchanged(name, ours, theirs))
}

/// `name` with its beginning `from` replaced by `to`.
fn exchanged(name: &str, from: &str, to: &str) -> Option<String> {
    let (mut rest, mut parts) = (name, Vec::new());
    let mut pieces = from.split("{}");
    rest = rest.strip_prefix(pieces.next()?)?;
    for piece in pieces {
        let end = rest.find('.').unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after.strip_prefix(piece)?;
    }
    let mut parts = parts.into_iter();
    let mut pieces = to.split("{}");
    let mut name = pieces.next()?.to_owned();
    for piece in pieces {
        name += parts.next()?;
        name += piece;
    }
    Some(name + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &[Rules] = &[
        &[("ppm.features.{}.1.", "psp.branches.{}.conv."), ("layer{}.{}.bn", "stages.{}.blocks.{}.norm")],
        &[("cls.4.", "classifier.")],
    ];

    #[test]
    fn names_are_translated_both_ways_by_the_first_rule_that_fits() {
        for (theirs, ours) in [
            ("ppm.features.3.1.weight", "psp.branches.3.conv.weight"),
            ("layer2.11.bn1.bias", "stages.2.blocks.11.norm1.bias"),
            ("cls.4.bias", "classifier.bias"),
        ] {
            assert_eq!(translated(theirs, RULES).as_deref(), Some(ours));
            assert_eq!(published(ours, RULES).as_deref(), Some(theirs));
        }
        for name in ["cls.44.bias", "ppm.features.3.2.weight", "ppm.features", "", "cls"] {
            assert_eq!(translated(name, RULES), None, "{name}");
        }
    }
}
