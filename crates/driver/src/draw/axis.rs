//! Round ends and labels of axes.

/// The smallest of 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10 times a power of ten that is at least `value`.
pub(super) fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];
    let step = steps.into_iter().find(|step| value <= step * power * (1.0 + 1e-9));
    step.unwrap_or(10.0) * power
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
    fn labels_have_no_superfluous_digits() {
        assert_eq!(tick(6.938_893_903_907_228e-18, 0.4), "0");
        assert_eq!(tick(-0.0, 1.0), "0");
        assert_eq!(tick(0.00125, 0.005), "0.00125");
        assert_eq!(tick(0.000_150_000_000_000_000_02, 0.0004), "1.5e-4");
    }
}
