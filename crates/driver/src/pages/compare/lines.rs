//! The lines of a comparison's figures: a run, or the mean over runs that differ only in their seed.

use robustseg_evaluation::Evaluation;
use robustseg_metrics::mean_and_deviation;

use super::comparison::Comparison;
use super::run::ComparedRun;
use super::{labels, seeds};
use crate::draw::chart::Line;

/// Runs that a figure draws as one line.
pub(super) struct Series<'a> {
    label: String,
    runs: Vec<&'a ComparedRun>,
}

impl Comparison {
    /// The runs in groups that differ only in their seed, the most robust group first.
    pub(super) fn series(&self) -> Vec<Series<'_>> {
        let mut groups = seeds::groups(&self.runs);
        let lowest =
            |runs: &[&ComparedRun]| runs.iter().map(|run| run.lowest()).sum::<f64>() / runs.len() as f64;
        groups.sort_by(|a, b| lowest(b).total_cmp(&lowest(a)));
        let shared: Vec<String> = groups.iter().map(|runs| common_name(runs)).collect();
        // Groups whose names share no other words are told apart by their first runs.
        let name = |(name, runs): (&String, &Vec<&ComparedRun>)| {
            let alone = shared.iter().filter(|other| *other == name).count() == 1;
            if alone { name.clone() } else { runs[0].label.clone() }
        };
        let names: Vec<String> = shared.iter().zip(&groups).map(name).collect();
        let beginning = labels::common_beginning(&names).len();
        let label = |(name, runs): (&String, Vec<_>)| Series { label: name[beginning..].to_owned(), runs };
        names.iter().zip(groups).map(label).collect()
    }
}

impl Series<'_> {
    /// The mean of the lines that `of` draws for each run. `None` if one of them has none.
    pub(super) fn line(&self, of: impl Fn(&Evaluation) -> Option<Line>) -> Option<Line> {
        Some(Line { label: self.label(), ..mean(self.of_each(of)?)? })
    }

    /// A marker at the mean of the points that `of` gives for each run. `None` if one of them has
    /// none.
    pub(super) fn point(&self, of: impl Fn(&Evaluation) -> Option<(f64, f64)>) -> Option<Line> {
        let (x, y): (Vec<f64>, Vec<f64>) = self.of_each(of)?.into_iter().unzip();
        let point = (mean_and_deviation(&x)?.0, mean_and_deviation(&y)?.0);
        Some(Line { markers: true, ..Line::through(self.label(), vec![point]) })
    }

    fn of_each<T>(&self, of: impl Fn(&Evaluation) -> Option<T>) -> Option<Vec<T>> {
        self.runs.iter().map(|run| of(&run.evaluation)).collect()
    }

    fn label(&self) -> String {
        match self.runs.len() {
            1 => self.label.clone(),
            runs => format!("{} ({runs} seeds)", self.label),
        }
    }
}

/// The mean of `lines` at the places that all of them have, with the deviation of the sample around
/// it. A single line keeps its own uncertainty.
fn mean(lines: Vec<Line>) -> Option<Line> {
    let [first, others @ ..] = &lines[..] else { return None };
    if others.is_empty() {
        return lines.into_iter().next();
    }
    let mut line = Line { points: Vec::new(), band: Vec::new(), ..first.clone() };
    for &(x, _) in &first.points {
        let at = |line: &Line| line.points.iter().find(|point| point.0 == x).map(|point| point.1);
        let Some(values) = lines.iter().map(at).collect::<Option<Vec<f64>>>() else { continue };
        let (mean, deviation) = mean_and_deviation(&values)?;
        line.points.push((x, mean));
        line.band.extend(deviation.map(|deviation| (x, mean - deviation, mean + deviation)));
    }
    Some(line)
}

/// The words that the labels of all `runs` have in one place: `camvid-bim` of `0-camvid-bim` and
/// `1-camvid-bim`. The first label if they have no such word.
fn common_name(runs: &[&ComparedRun]) -> String {
    let separator = |c: char| matches!(c, '-' | '_' | ' ' | '/' | ',');
    let words = |run: &&ComparedRun| -> Vec<String> {
        run.label.split_inclusive(separator).map(str::to_owned).collect()
    };
    let all: Vec<Vec<String>> = runs.iter().map(words).collect();
    let shared = |(place, word): &(usize, &String)| {
        all.iter().all(|other| other.len() == all[0].len() && other[*place] == **word)
    };
    let name: String = all[0].iter().enumerate().filter(shared).map(|(_, word)| word.as_str()).collect();
    let name = name.trim_matches(separator);
    if name.is_empty() { runs[0].label.clone() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_line_has_the_places_of_all_lines() {
        let line = |points: &[(f64, f64)]| Line::through("x", points.to_vec());
        let one = line(&[(0.0, 0.7), (0.01, 0.5), (0.02, 0.4)]);
        assert_eq!(mean(vec![one.clone()]), Some(one.clone()));
        let both = mean(vec![one, line(&[(0.0, 0.5), (0.02, 0.4)])]).unwrap();
        assert_eq!((both.points.len(), both.points[1]), (2, (0.02, 0.4)));
        assert!((both.points[0].1 - 0.6).abs() < 1e-12);
        let (_, low, high) = both.band[0];
        assert!((high - low - 2.0 * 0.02_f64.sqrt()).abs() < 1e-12);
        assert_eq!(mean(Vec::new()), None);
    }
}
