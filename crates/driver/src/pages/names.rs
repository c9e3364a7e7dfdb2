//! Names of methods and attacks in figures and tables.

use robustseg_attacks::{Settings, title_of};
use robustseg_evaluation::Curve;
use robustseg_training::MethodConfig;

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
}
