//! Names of methods and attacks in figures and tables.

use robustseg_attacks::{Settings, title_of};
use robustseg_evaluation::Curve;
use robustseg_training::MethodConfig;

use crate::draw::table::Column;

/// The title of a method or an attack in its paper, such as "random FGSM" for `random_fgsm`. An
/// unknown `name` is returned unchanged.
pub fn paper_name(name: &str) -> &str {
    let method = MethodConfig::by_name(name).map(|method| method.title());
    method.or_else(|| title_of(name)).unwrap_or(name)
}

/// The title of an attack's curve with the settings, such as "BIM, alpha 0.004, 10 steps".
pub fn curve_title(attack: &str, settings: &Settings) -> String {
    let title = paper_name(attack);
    if settings.is_empty() { title.to_owned() } else { format!("{title}, {settings}") }
}

/// The title of `curve` with its settings and the source of its gradients, such as "FGSM, from basic".
pub fn title_of_curve(curve: &Curve) -> String {
    let source = curve.source.as_ref().map_or(String::new(), |source| format!(", from {source}"));
    curve_title(&curve.attack, &curve.parameters) + &source
}

/// `epsilon` in units of 8-bit images, such as `8/255` or `10.2/255`. Empty for 0, and for the norms
/// of l2 balls, which are above 1.
pub fn in_255(epsilon: f64) -> String {
    let value = 255.0 * epsilon;
    let rounded = (10.0 * value).round() / 10.0;
    if epsilon <= 0.0 || epsilon > 1.0 { String::new() } else { format!("{rounded}/255") }
}

/// `epsilon` in both units, such as `0.04 (10.2/255)`.
pub fn epsilon_in_words(epsilon: f64) -> String {
    let bits = in_255(epsilon);
    if bits.is_empty() { epsilon.to_string() } else { format!("{} ({bits})", shortened(epsilon)) }
}

/// `epsilon` with at most five decimals, because 8/255 has very many.
pub fn shortened(epsilon: f64) -> f64 {
    (1e5 * epsilon).round() / 1e5
}

/// The column of a table for `epsilon`.
pub fn epsilon_column(epsilon: f64) -> Column {
    Column { name: shortened(epsilon).to_string(), detail: in_255(epsilon) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_the_papers() {
        assert_eq!(paper_name("random_fgsm"), "random FGSM");
        assert_eq!(paper_name("something_new"), "something_new");
        let title = |attack, settings| curve_title(attack, &serde_json::from_value(settings).unwrap());
        assert_eq!(title("bim", json!({"alpha": 0.004, "steps": 10})), "BIM, alpha 0.004, 10 steps");
        assert_eq!(title("fgsm", json!({})), "FGSM");
        assert_eq!(title("segpgd", json!({"start": "random"})), "SegPGD, random start");
    }

    #[test]
    fn epsilons_have_the_units_of_8_bit_images() {
        assert_eq!(epsilon_in_words(0.04), "0.04 (10.2/255)");
        assert_eq!(epsilon_in_words(8.0 / 255.0), "0.03137 (8/255)");
        assert_eq!((epsilon_in_words(0.0), epsilon_in_words(2.0)), ("0".into(), "2".into()));
        assert_eq!(epsilon_column(4.0 / 255.0), Column { name: "0.01569".into(), detail: "4/255".into() });
    }
}
