//! The report's section about single classes: scores and confusions.

use robustseg_metrics::ConfusionMatrix;

use super::robustness::WORST_CASE;
use crate::draw::html::{escape, scrolling};
use crate::draw::table::{Cell, Table};
use crate::pages::confusions::Confusions;
use crate::pages::names::paper_name;
use crate::pages::summary::RunSummary;

/// The most classes whose confusion matrix is readable.
const MATRIX: usize = 40;
/// The most confusions that are listed.
const LISTED: usize = 8;

/// IoU of each class, clean, at the largest epsilon of each curve and in the worst case, precision,
/// recall and F1 of clean images, and the sizes of its objects.
pub(super) fn scores(run: &RunSummary, confusions: Option<&Confusions>) -> Table {
    let clean = &run.evaluation.clean;
    let own = run.evaluation.curves.iter().filter(|curve| curve.source.is_none());
    let strongest = own.filter_map(|curve| {
        let point = curve.points.iter().max_by(|a, b| a.epsilon.total_cmp(&b.epsilon))?;
        Some((format!("{} at {}", paper_name(&curve.attack), point.epsilon), &point.scores))
    });
    let worst = run.evaluation.worst_case.last();
    let worst = worst.map(|point| (format!("{WORST_CASE} at {}", point.epsilon), &point.scores));
    let columns: Vec<_> =
        std::iter::once(("clean".to_owned(), clean)).chain(strongest).chain(worst).collect();
    let matrix = confusions.map(|confusions| &confusions.clean);
    let shares: Vec<(&str, Vec<Option<f64>>)> = matrix.map_or(Vec::new(), |matrix| {
        vec![("precision", matrix.precision()), ("recall", matrix.recall()), ("F1", matrix.f1())]
    });
    let edges = run.evaluation.scope.object_edges.as_deref();
    let sizes = edges.map_or(&[][..], |_| &["medium objects from", "large objects from"]);
    let names = std::iter::once("class".to_owned()).chain(columns.iter().map(|(name, _)| name.clone()));
    let names = names.chain(shares.iter().map(|(name, _)| (*name).to_owned()));
    let names = names.chain(sizes.iter().map(|&name| name.to_owned()));
    let mut table = Table { bars: true, ..Table::new("IoU of each class", names) };
    for label in 0..clean.iou.len() {
        let name = run.class_name(label);
        let iou = columns.iter().map(|(_, scores)| Cell::fraction(scores.iou.get(label).copied().flatten()));
        let shares = shares.iter().map(|(_, values)| Cell::number(values.get(label).copied().flatten(), 4));
        let of_class = edges.and_then(|edges| *edges.get(label)?);
        let from =
            |index: usize| of_class.map_or(Cell::Missing, |edges| Cell::Number(edges[index] as f64, 0));
        let sizes = (0..sizes.len()).map(from);
        table.rows.push(std::iter::once(Cell::Text(name)).chain(iou).chain(shares).chain(sizes).collect());
    }
    let mean = columns.iter().map(|(_, scores)| Cell::Fraction(scores.miou));
    let mean_share = |(_, values): &(&str, Vec<Option<f64>>)| {
        let known: Vec<f64> = values.iter().flatten().copied().collect();
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        Cell::number((!known.is_empty()).then_some(mean), 4)
    };
    let empty = sizes.iter().map(|_| Cell::text(""));
    let mean = std::iter::once(Cell::text("mean")).chain(mean).chain(shares.iter().map(mean_share));
    table.rows.push(mean.chain(empty).collect());
    let mut notes = Vec::new();
    if clean.iou.contains(&None) {
        notes.push("n/a: the class occurs neither in labels nor in predictions, and not in the mean.");
    }
    if !shares.is_empty() {
        notes.push("Precision, recall and F1 are of clean images.");
    }
    if edges.is_some() {
        notes.push("Objects are the connected components of the labels, and sizes their areas in pixels.");
    }
    table.note = notes.join(" ");
    table
}

/// The counts of a confusion matrix, a row for each label and a column for each prediction.
pub(super) fn counts(run: &RunSummary, matrix: &ConfusionMatrix) -> Table {
    let classes = matrix.num_classes();
    let columns = (0..classes).map(|class| run.class_name(class));
    let mut table =
        Table::new("Pixels by label and prediction", std::iter::once("label".into()).chain(columns));
    table.rows.extend(matrix.counts().chunks(classes.max(1)).enumerate().map(|(label, row)| {
        let name = Cell::Text(run.class_name(label));
        std::iter::once(name).chain(row.iter().map(|count| Cell::Number(*count as f64, 0))).collect()
    }));
    table
}

/// The most frequent confusions, clean and under attack, and both matrices.
pub(super) fn confusions(run: &RunSummary, found: &Confusions) -> String {
    let mut content = frequent(run, found).html();
    if found.clean.num_classes() > MATRIX {
        return content;
    }
    content += "<div class=\"charts\">\n";
    content += &heat_map(run, "Confusion matrix without an attack, in percent of the label", &found.clean);
    if let Some((name, matrix)) = &found.attacked {
        content += &heat_map(run, &format!("Confusion matrix under {name}, in percent of the label"), matrix);
    }
    content
        + "</div>\n<p class=\"note\">Rows are labels, columns are predictions by the numbers of the rows.</p>\n"
}

/// The share of the pixels of each label that have each prediction.
fn shares(matrix: &ConfusionMatrix) -> Vec<Vec<f64>> {
    let share = |row: &[u64]| {
        let sum = row.iter().sum::<u64>().max(1) as f64;
        row.iter().map(|count| *count as f64 / sum).collect()
    };
    matrix.counts().chunks(matrix.num_classes().max(1)).map(share).collect()
}

fn frequent(run: &RunSummary, found: &Confusions) -> Table {
    let (clean, attacked) = (shares(&found.clean), found.attacked.as_ref().map(|(_, matrix)| shares(matrix)));
    let strongest = attacked.as_ref().unwrap_or(&clean);
    let pairs = strongest.iter().enumerate().flat_map(|(label, row)| {
        row.iter().enumerate().map(move |(prediction, share)| (label, prediction, *share))
    });
    let mut pairs: Vec<_> =
        pairs.filter(|(label, prediction, share)| label != prediction && *share > 0.0).collect();
    pairs.sort_by(|a, b| b.2.total_cmp(&a.2));
    pairs.truncate(LISTED);
    let attack = found.attacked.iter().map(|(name, _)| format!("under {name}"));
    let columns = ["label", "predicted as", "clean"].map(str::to_owned).into_iter().chain(attack);
    let mut table = Table::new("Most frequent confusions, in percent of the label's pixels", columns);
    table.rows.extend(pairs.into_iter().map(|(label, prediction, _)| {
        let names = [label, prediction].map(|class| Cell::Text(run.class_name(class)));
        let percent = |shares: &Vec<Vec<f64>>| Cell::Percent(100.0 * shares[label][prediction]);
        let percents = std::iter::once(&clean).chain(&attacked).map(percent);
        names.into_iter().chain(percents).collect()
    }));
    table
}

fn heat_map(run: &RunSummary, title: &str, matrix: &ConfusionMatrix) -> String {
    let classes = matrix.num_classes();
    let number = |number: usize| format!("<th scope=\"col\">{number}</th>");
    let head: String = (1..=classes).map(number).collect();
    let row = |(label, row): (usize, &Vec<f64>)| {
        let cell = |share: &f64| format!("<td style=\"--part:{share:.2}\">{:.0}</td>", 100.0 * share);
        let cells: String = row.iter().map(cell).collect();
        format!("<tr><th scope=\"row\">{} {}</th>{cells}</tr>\n", label + 1, escape(&run.class_name(label)))
    };
    let rows: String = shares(matrix).iter().enumerate().map(row).collect();
    let title_text = escape(title);
    let table = format!(
        "<table class=\"matrix\">\n<caption><span>{title_text}</span></caption>\n<thead><tr><th scope=\"col\">label</th>{head}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>"
    );
    scrolling(title, &table)
}
