//! Short and unique names of runs.

use std::collections::HashMap;

use crate::pages::summary::RunSummary;

/// The unique names of `runs`. Runs of one name also have that of their folder, or their path.
pub(super) fn unique(runs: &[RunSummary]) -> Vec<String> {
    let counted = |names: &mut dyn Iterator<Item = String>| {
        let mut counts: HashMap<String, usize> = HashMap::new();
        names.for_each(|name| *counts.entry(name).or_default() += 1);
        counts
    };
    let with_folder = |run: &RunSummary| {
        let folder = run.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{}, {folder}", run.name())
    };
    let names = counted(&mut runs.iter().map(RunSummary::name));
    let folders = counted(&mut runs.iter().map(with_folder));
    let name = |run: &RunSummary| match (run.name(), with_folder(run)) {
        (name, _) if names[&name] == 1 => name,
        (_, name) if folders[&name] == 1 => name,
        (name, _) => format!("{name} ({})", run.path.display()),
    };
    runs.iter().map(name).collect()
}

/// The longest beginning that all `names` share, up to a separator, so that the rest of each begins
/// with a letter. Empty for a single name.
pub(super) fn common_beginning(names: &[String]) -> &str {
    let [first, others @ ..] = names else { return "" };
    let fits = |end: &usize| {
        let beginning = &first[..*end];
        let rest = |name: &String| {
            name.strip_prefix(beginning).is_some_and(|rest| rest.starts_with(|c: char| c.is_alphabetic()))
        };
        names.iter().all(rest)
    };
    let separators = first.char_indices().filter(|(_, c)| matches!(c, '_' | '-' | ' ' | '/'));
    let mut ends = separators.map(|(place, c)| place + c.len_utf8()).filter(|_| !others.is_empty());
    ends.rfind(fits).map_or("", |end| &first[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_beginning_ends_at_a_separator_before_a_letter() {
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            common_beginning(&names).to_owned()
        };
        assert_eq!(of(&["camvid_bim", "camvid_basic"]), "camvid_");
        assert_eq!(of(&["voc_all_bim", "voc_all_basic"]), "voc_all_");
        assert_eq!(of(&["smoke, seed-0", "smoke, seed-1"]), "smoke, ");
        assert_eq!(of(&["scenes_1", "scenes_2"]), "");
        assert_eq!(of(&["camvid_bim"]), "");
        assert_eq!(of(&["camvid", "camvid_bim"]), "");
        assert_eq!(of(&["übung_a", "übung_b"]), "übung_");
    }
}
