//! Tables of results: the images and weights that they are of, and their files.

use robustseg_evaluation::Scope;

use crate::draw::table::{Cell, Table};
use crate::run_directory::RunDirectory;

/// `table` with the statement that its numbers are of `scope`: at the end of the note, and in a CSV
/// as the columns `split`, `images` and `split_images`.
pub(super) fn scoped(mut table: Table, scope: &Scope) -> Table {
    let sentence = scope.to_string();
    if !sentence.is_empty() {
        let parts = [table.note.trim_end_matches('.'), sentence.as_str()];
        table.note = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(". ") + ".";
    }
    let count = |count: usize| Cell::Number(count as f64, 0);
    let constants = [
        ("split", scope.split.clone().map(Cell::Text)),
        ("images", scope.images.map(count)),
        ("split_images", scope.split_images.map(count)),
    ];
    table.constants.extend(constants.into_iter().filter_map(|(name, cell)| Some((name.into(), cell?))));
    table
}

/// Writes `table` as `tables/NAME.csv`, `.md` and `.tex` into `directory`.
pub(super) fn write(directory: &RunDirectory, name: &str, table: &Table) -> anyhow::Result<()> {
    for (ending, text) in [("csv", table.csv()), ("md", table.markdown()), ("tex", table.latex())] {
        directory.write(&format!("tables/{name}.{ending}"), text.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::table::tests::sample;

    #[test]
    fn every_form_says_how_many_images_of_how_many() {
        let (split, weights) = (Some("val".into()), Some("last".into()));
        let scope = Scope { split, weights, images: Some(24), split_images: Some(100), ..Scope::default() };
        let table = scoped(sample(), &scope);
        let sentence = "n/a: no basic run. 24 of 100 images of split val, weights: last.";
        for text in [table.plain(), table.markdown(), table.latex(), table.html()] {
            assert!(text.contains(sentence), "{text}");
        }
        let csv = table.csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[0], "run,mean IoU,added,split,images,split_images");
        assert_eq!(lines[2], "basic,,,val,24,100");
        let unknown = scoped(sample(), &Scope::default());
        assert_eq!((unknown.note.as_str(), unknown.constants.len()), ("n/a: no basic run.", 0));
    }
}
