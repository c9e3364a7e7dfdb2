//! Lines of charts.

/// The most points in a line over training steps. More are averaged in groups.
const MANY: usize = 300;

/// The most points in a line over training steps that have markers.
const MARKED: usize = 30;

/// A line of a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub label: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// Its uncertainty, from left to right: place, lower end and upper end. Empty if unknown.
    pub band: Vec<(f64, f64, f64)>,
    /// Whether each point has a marker.
    pub markers: bool,
    /// Whether it stands out among the others.
    pub bold: bool,
}

impl Line {
    /// A line through `points`, from left to right.
    pub fn through(label: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { label: label.into(), points, ..Self::default() }
    }

    /// A value over training steps. Groups of neighbours are averaged if there are more than a few
    /// hundred.
    pub fn over_steps(label: &str, values: &[(u64, f64)]) -> Self {
        let mean = |group: &[(u64, f64)]| {
            let count = group.len() as f64;
            let sum =
                group.iter().fold((0.0, 0.0), |sum, &(step, value)| (sum.0 + step as f64, sum.1 + value));
            (sum.0 / count, sum.1 / count)
        };
        let points: Vec<_> = values.chunks(values.len().div_ceil(MANY).max(1)).map(mean).collect();
        Self { markers: points.len() <= MARKED, ..Self::through(label, points) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_averaged() {
        let values: Vec<_> = (0..1000).map(|step| (step, if step % 2 == 0 { 1.0 } else { 3.0 })).collect();
        let line = Line::over_steps("loss", &values);
        assert_eq!(line.points.len(), 250);
        assert!(line.points.iter().all(|point| point.1 == 2.0));
        assert_eq!(line.points[0].0, 1.5);
    }
}
