//! How files of weights spell the names of a backbone's tensors.

/// Words that programs write before the names of a whole network, with a dot: PyTorch's
/// `DataParallel` (`module`), `torch.compile` (`_orig_mod`), Lightning and other trainers (`model`,
/// `net`, `network`), and networks that contain the backbone (`backbone`, `encoder`).
pub const WRAPPERS: [&str; 7] = ["_orig_mod", "backbone", "encoder", "model", "module", "net", "network"];

/// The layers of semseg's deep stem and of timm's, which counts the layers of a sequence.
const TIMMS_STEM: [(&str, &str); 6] = [
    ("conv1", "conv1.0"),
    ("bn1", "conv1.1"),
    ("conv2", "conv1.3"),
    ("bn2", "conv1.4"),
    ("conv3", "conv1.6"),
    ("bn3", "bn1"),
];

/// The names of a backbone's tensors in one file.
pub(crate) struct Spelling<'a> {
    /// The words before the names, or `None` if the file has none of the variables.
    prefix: Option<&'a str>,
    timms_stem: bool,
}

impl<'a> Spelling<'a> {
    /// The spelling in a file with `names`. The first of `variables` that is there, behind nothing
    /// but [`WRAPPERS`], decides.
    pub(crate) fn of<'b>(names: &[&'a str], mut variables: impl Iterator<Item = &'b str>) -> Self {
        let prefix = variables.find_map(|variable| prefix(names, variable));
        let stem = format!("{}conv1.0.weight", prefix.unwrap_or_default());
        Self { prefix, timms_stem: names.contains(&&*stem) }
    }

    /// Whether the file has any of the backbone's names.
    pub(crate) fn is_known(&self) -> bool {
        self.prefix.is_some()
    }

    /// The name of the backbone's `variable` in the file.
    pub(crate) fn name(&self, variable: &str) -> String {
        let (layer, rest) = variable.split_once('.').unwrap_or((variable, ""));
        let stem = TIMMS_STEM.iter().find(|(ours, _)| self.timms_stem && *ours == layer);
        let prefix = self.prefix.unwrap_or_default();
        match stem {
            Some((_, timms)) => format!("{prefix}{timms}.{rest}"),
            None => format!("{prefix}{variable}"),
        }
    }

    /// The outermost layer of the backbone to which the tensor `name` of the file would belong, if
    /// it has the prefix.
    pub(crate) fn layer<'b>(&self, name: &'b str) -> Option<&'b str> {
        let name = name.strip_prefix(self.prefix?)?;
        name.split('.').next()
    }
}

/// The shortest sequence of [`WRAPPERS`] before `variable` among `names`.
pub(crate) fn prefix<'a>(names: &[&'a str], variable: &str) -> Option<&'a str> {
    let prefixes = names.iter().filter_map(|name| name.strip_suffix(variable));
    let wrapped = prefixes.filter(|prefix| {
        (prefix.is_empty() || prefix.ends_with('.'))
            && prefix.split_terminator('.').all(|word| WRAPPERS.contains(&word))
    });
    wrapped.min_by_key(|prefix| prefix.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_known_prefix_is_taken() {
        for (names, expected) in [
            (&["bn1.weight", "fc.weight"][..], Some("")),
            (&["module.attacker.model.bn1.weight", "module.model.bn1.weight"], Some("module.model.")),
            (&["backbone.layer1.0.bn1.weight", "backbone.bn1.weight"], Some("backbone.")),
            (&["net.bn1.weight", "other.bn1.weight"], Some("net.")),
            (&["other.bn1.weight", "abn1.weight"], None),
        ] {
            assert_eq!(prefix(names, "bn1.weight"), expected);
        }
    }
}
