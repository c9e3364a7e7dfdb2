//! Names and colours of classes among the texts of a folder, such as `names.txt` or
//! `class_dict.csv`.

use super::folder::Tree;

/// A class as a text describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) value: Option<u8>,
    pub(super) colour: Option<[u8; 3]>,
}

/// The classes that a text names.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// The text's relative path.
    pub(super) path: String,
    pub(super) classes: Vec<Named>,
}

/// Parts of the names of texts that describe classes.
const WORDS: [&str; 7] = ["name", "class", "label", "colo", "palette", "categor", "legend"];

/// The texts in `tree` that look like names of classes, each with its colours or with those of a
/// second text of as many lines.
pub(super) fn find(tree: &Tree) -> Vec<Names> {
    let is_likely = |path: &&String| {
        let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
        WORDS.iter().any(|word| name.contains(word))
    };
    let texts: Vec<Names> = tree
        .texts
        .iter()
        .filter(is_likely)
        .filter_map(|path| Some(Names { path: path.clone(), classes: parse(&tree.text(path)?)? }))
        .collect();
    let (mut named, colours): (Vec<Names>, Vec<Names>) =
        texts.into_iter().partition(|text| text.classes.iter().all(|class| !class.name.is_empty()));
    for names in &mut named {
        let fits = |other: &&Names| other.classes.len() == names.classes.len();
        if names.classes.iter().all(|class| class.colour.is_none())
            && let Some(colours) = colours.iter().find(fits)
        {
            for (class, colour) in names.classes.iter_mut().zip(&colours.classes) {
                class.colour = colour.colour;
            }
        }
    }
    named
}

/// The classes that a text describes: in each line a name, a value, three parts of a colour, or
/// several of these.
fn parse(text: &str) -> Option<Vec<Named>> {
    let mut lines: Vec<Named> = Vec::new();
    let mut rows =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    // The head of a table has words alone.
    let head =
        rows.next_if(|row| parse_row(row).is_some_and(|row| row.value.is_none() && row.colour.is_none()));
    let rest = rows.map(parse_row).collect::<Option<Vec<_>>>()?;
    let is_table = rest.first().is_some_and(|row| row.value.is_some() || row.colour.is_some());
    if let Some(head) = head.filter(|_| !is_table) {
        lines.push(parse_row(head)?);
    }
    lines.extend(rest);
    (2..=256).contains(&lines.len()).then_some(lines)
}

fn parse_row(row: &str) -> Option<Named> {
    let is_separator = |c: char| c.is_whitespace() || ",;:=()[]\"'".contains(c);
    let (mut words, mut numbers) = (Vec::new(), Vec::new());
    for part in row.split(is_separator).filter(|part| !part.is_empty()) {
        match part.parse::<u8>() {
            Ok(number) => numbers.push(number),
            Err(_) => words.push(part),
        }
    }
    let (value, colour) = match numbers[..] {
        [] => (None, None),
        [value] => (Some(value), None),
        [red, green, blue] => (None, Some([red, green, blue])),
        [value, red, green, blue] => (Some(value), Some([red, green, blue])),
        _ => return None,
    };
    (words.len() <= 6).then(|| Named { name: words.join(" "), value, colour })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_values_and_colours_are_read_in_any_order() {
        let class = |name: &str, value, colour| Named { name: name.into(), value, colour };
        assert_eq!(
            parse("sky\nroad side\n"),
            Some(vec![class("sky", None, None), class("road side", None, None)])
        );
        assert_eq!(
            parse("0 sky 1 2 3\n7: road [4, 5, 6]\n"),
            Some(vec![class("sky", Some(0), Some([1, 2, 3])), class("road", Some(7), Some([4, 5, 6]))])
        );
        assert_eq!(
            parse("name,r,g,b\nsky,1,2,3\nroad,4,5,6\n"),
            Some(vec![class("sky", None, Some([1, 2, 3])), class("road", None, Some([4, 5, 6]))])
        );
        assert_eq!(parse("1 2 3\n4 5 6\n").unwrap()[1], class("", None, Some([4, 5, 6])));
        assert_eq!(parse("only\n"), None);
        assert_eq!(parse("a 1 2\nb 3 4\n"), None);
    }
}
