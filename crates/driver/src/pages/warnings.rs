//! The warnings of an evaluation in words, one line per attack and kind.

use robustseg_evaluation::Warning;

use super::names::curve_title;

/// The warning about weights that were chosen by their score on the evaluated split.
pub const SELECTED: &str = "these weights were chosen by their score on the evaluated split: a selection on the test \
                            data, which flatters them; choose on another split, or evaluate the last weights";

/// One pair per attack and kind of `warnings`: the attack with all its epsilons, and the message at
/// the last of them.
pub fn by_attack(warnings: &[Warning]) -> Vec<(String, String)> {
    let mut groups: Vec<Vec<&Warning>> = Vec::new();
    for warning in warnings {
        let same = |other: &&mut Vec<&Warning>| {
            let first = other[0];
            (first.kind, &first.attack, &first.parameters)
                == (warning.kind, &warning.attack, &warning.parameters)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(warning),
            None => groups.push(vec![warning]),
        }
    }
    let line = |group: Vec<&Warning>| {
        let epsilons: Vec<String> = group.iter().map(|warning| warning.epsilon.to_string()).collect();
        let last = group[group.len() - 1];
        let place =
            format!("{}, epsilon {}", curve_title(&last.attack, &last.parameters), epsilons.join(", "));
        let message =
            if group.len() > 1 { format!("at the last, {}", last.message) } else { last.message.clone() };
        (place, message)
    };
    groups.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use robustseg_attacks::Settings;
    use robustseg_evaluation::WarningKind;

    #[test]
    fn warnings_of_a_kind_are_one_line() {
        let warning = |attack: &str, kind, epsilon: f64| Warning {
            kind,
            attack: attack.into(),
            parameters: Settings::default(),
            epsilon,
            message: format!("seen at {epsilon}"),
        };
        let (unused, zero) = (WarningKind::BudgetUnused, WarningKind::ZeroGradient);
        let lines = by_attack(&[
            warning("bim", unused, 0.01),
            warning("bim", zero, 0.01),
            warning("bim", unused, 0.02),
            warning("sea", unused, 0.01),
        ]);
        let line = |place: &str, message: &str| (place.to_owned(), message.to_owned());
        assert_eq!(
            lines,
            [
                line("BIM, epsilon 0.01, 0.02", "at the last, seen at 0.02"),
                line("BIM, epsilon 0.01", "seen at 0.01"),
                line("SEA, epsilon 0.01", "seen at 0.01"),
            ]
        );
    }
}
