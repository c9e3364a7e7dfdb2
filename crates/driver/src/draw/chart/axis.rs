//! Round ends, ticks and labels of axes.

/// The smallest of 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10 times a power of ten that is at least `value`.
pub(super) fn round_up(value: f64) -> f64 {
    smallest_from(&[1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0], value)
}

/// The smallest of `steps`, and 10, times a power of ten that is at least `value`.
fn smallest_from(steps: &[f64], value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let step = steps.iter().find(|step| value <= **step * power * (1.0 + 1e-9));
    step.unwrap_or(&10.0) * power
}

/// At most `most` + 1 multiples of a round number from `low` to `high`, in which 0 is if it is in
/// between.
pub(super) fn ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let step = smallest_from(&[1.0, 2.0, 2.5, 5.0], (high - low) / most.max(1) as f64);
    let first = (low / step - 1e-9).ceil();
    let count = (high / step + 1e-9).floor() - first;
    (0..=count.max(0.0) as usize).map(|index| (first + index as f64) * step).collect()
}

/// The label of a tick on an axis of length `span`, without superfluous digits. A rounding error
/// around zero is `0`.
pub(super) fn tick(value: f64, span: f64) -> String {
    if value.abs() <= 1e-9 * span {
        return "0".into();
    }
    if !(1e-3..1e6).contains(&value.abs()) {
        let text = format!("{value:.3e}");
        return match text.split_once('e') {
            Some((digits, power)) => format!("{}e{power}", trimmed(digits)),
            None => text,
        };
    }
    // Three digits more than the first digit of the span.
    let decimals = (3.0 - span.log10().floor()).clamp(0.0, 9.0) as usize;
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

/// `number` without the zeros at the end of its decimals.
fn trimmed(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!([0.63, 0.8, 0.81, 1.0].map(round_up), [0.8, 0.8, 1.0, 1.0]);
        assert_eq!(round_up(17.0), 20.0);
        assert_eq!(
            ["0.04", "0", "1", "0.7", "2000"],
            [0.04, 0.0, 1.0, 0.7, 2000.0].map(|value| tick(value, value)).each_ref().map(String::as_str)
        );
    }

    #[test]
    fn ticks_are_round_and_within_the_axis() {
        let labels = |low: f64, high: f64, most| -> Vec<String> {
            ticks(low, high, most).into_iter().map(|value| tick(value, high - low)).collect()
        };
        assert_eq!(
            labels(0.0, 0.04, 8),
            ["0", "0.005", "0.01", "0.015", "0.02", "0.025", "0.03", "0.035", "0.04"]
        );
        assert_eq!(labels(0.0, 0.04, 4), ["0", "0.01", "0.02", "0.03", "0.04"]);
        assert_eq!(labels(-0.3, 0.7, 5), ["-0.2", "0", "0.2", "0.4", "0.6"]);
        assert_eq!(labels(0.0, 199.0, 4), ["0", "50", "100", "150"]);
    }

    #[test]
    fn labels_have_no_superfluous_digits() {
        assert_eq!(tick(6.938_893_903_907_228e-18, 0.4), "0");
        assert_eq!(tick(-0.0, 1.0), "0");
        assert_eq!(tick(0.00125, 0.005), "0.00125");
        assert_eq!(tick(0.000_150_000_000_000_000_02, 0.0004), "1.5e-4");
    }
}
