//! The attack and its settings on the command line, from the registry of attacks.

use clap::Args;
use robustseg_attacks::{AttackConfig, Error, Settings, attacks};
use serde_json::Value;

use crate::number;

/// An attack with its settings.
#[derive(Args)]
pub(super) struct AttackOptions {
    #[arg(long = "method", value_name = "ATTACK", help = names())]
    name: String,
    #[arg(
        long,
        allow_hyphen_values = true,
        value_parser = number::parse,
        help = "Radius of the perturbation, images being in [0, 1], for example 0.03 or 8/255; for fast_newton, \
                dag and alma_prox a limit [default: 0.03, without a limit]"
    )]
    epsilon: Option<f64>,
    #[arg(long, allow_hyphen_values = true, value_parser = number::parse, help = setting("Size of one step", "alpha"))]
    alpha: Option<f64>,
    #[arg(long, help = setting("Number of steps", "steps"))]
    steps: Option<usize>,
    #[arg(long, help = setting("Random starts", "restarts"))]
    restarts: Option<usize>,
    #[arg(long, help = setting("Where the attack starts: image or random", "start"))]
    start: Option<String>,
    /// A setting of the attack, for example --setting decay=0.5; may be repeated.
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = assignment)]
    settings: Vec<(String, Value)>,
}

impl AttackOptions {
    /// The attack.
    ///
    /// # Errors
    /// If the attack is unknown, lacks a given setting, or a value is out of range.
    pub(super) fn config(&self) -> Result<AttackConfig, Error> {
        let mut changes = Settings::default();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                changes.set(name, value);
            }
        };
        set("epsilon", self.epsilon.map(Value::from));
        set("alpha", self.alpha.map(Value::from));
        set("steps", self.steps.map(Value::from));
        set("restarts", self.restarts.map(Value::from));
        set("start", self.start.clone().map(Value::from));
        for (name, value) in &self.settings {
            set(name, Some(value.clone()));
        }
        AttackConfig::by_name(&self.name, &changes)
    }
}

/// Parses `NAME=VALUE`. The value is JSON or a fraction if possible, else text.
fn assignment(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, for example decay=0.5")?;
    let number = || number::parse(value).ok().map(Value::from);
    let value = serde_json::from_str(value).ok().or_else(number).unwrap_or_else(|| value.into());
    Ok((name.trim().to_owned(), value))
}

/// The attacks with one sentence about each.
fn names() -> String {
    let line = |attack: &dyn robustseg_attacks::Attack| format!("{}: {}", attack.name(), attack.summary());
    let lines: Vec<String> = attacks().iter().map(|attack| line(attack.as_ref())).collect();
    format!("The attack.\n{}", lines.join("\n"))
}

/// `what` with the attacks that have the setting `name`, and its default in each.
fn setting(what: &str, name: &str) -> String {
    let mut defaults: Vec<(String, Vec<&str>)> = Vec::new();
    for attack in attacks() {
        let settings = attack.settings();
        let Some(value) = settings.get(name) else { continue };
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match defaults.iter_mut().find(|(known, _)| *known == value) {
            Some((_, names)) => names.push(attack.name()),
            None => defaults.push((value, vec![attack.name()])),
        }
    }
    let told = defaults.iter().map(|(value, names)| format!("{value} for {}", names.join(", ")));
    format!("{what} [default: {}]", told.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn help_names_every_attack_and_the_defaults_of_settings() {
        let help = names();
        assert!(attacks().iter().all(|attack| help.contains(attack.name())), "{help}");
        let steps = setting("Number of steps", "steps");
        assert!(steps.starts_with("Number of steps [default: 3 for bim, pgd, "), "{steps}");
        let named: Vec<&str> =
            steps.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
        for attack in attacks() {
            let has_steps = attack.settings().get("steps").is_some();
            assert_eq!(named.contains(&attack.name()), has_steps, "{}: {steps}", attack.name());
        }
    }

    #[test]
    fn settings_are_numbers_fractions_words_or_truths() {
        let value = |text: &str| assignment(text).unwrap().1;
        assert_eq!(value("decay=0.5"), json!(0.5));
        assert_eq!(value("alpha=2/255"), json!(2.0 / 255.0));
        assert_eq!(value("random_start=false"), json!(false));
        assert_eq!(value("negative_gain=abs"), json!("abs"));
        assert!(assignment("decay").is_err());
    }
}
