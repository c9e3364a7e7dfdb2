//! Values of a spec that have the right type and make no sense.

use robustseg_training::{CurveConfig, Error, EvaluationConfig};

use super::{Fault, Spec};

/// Refuses the first value out of its range; the fault's path leads to it.
pub(super) fn check(spec: &Spec) -> Result<(), Fault> {
    name(&spec.name)?;
    text("data.manifest", &spec.data.manifest.to_string_lossy())?;
    text("data.train_split", &spec.data.train_split)?;
    text("data.validation_split", &spec.data.validation_split)?;
    model(spec)?;
    let method = &spec.training.method;
    method.validate().map_err(|error| fault(&format!("training.method.{}", method.name()), error))?;
    spec.training.validate().map_err(|error| fault("training", error))?;
    let augmentation = spec.training.augmentation.validate();
    augmentation.map_err(|error| setting("training.augmentation", error.to_string()))?;
    let EvaluationConfig { curves, .. } = &spec.evaluation;
    for (index, curve) in curves.iter().enumerate() {
        let prefix = format!("evaluation.curves.{index}.{}", curve.name());
        curve.validate().map_err(|error| curve_fault(&prefix, curve, error))?;
    }
    spec.evaluation.validate().map_err(|error| fault("evaluation", error))
}

/// The name becomes a folder.
fn name(name: &str) -> Result<(), Fault> {
    let allowed = |c: char| c.is_alphanumeric() || "-_.+ ".contains(c);
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(allowed) {
        let reason = format!(
            "{name:?} cannot name a run directory; take letters, digits, - _ . +, at most 100, no dot in front"
        );
        return Err(setting("name", reason));
    }
    Ok(())
}

fn text(key: &str, value: &str) -> Result<(), Fault> {
    if value.trim().is_empty() { Err(setting(key, "is empty".into())) } else { Ok(()) }
}

/// The settings of the kind of network stand under its name, those that all kinds share beside it.
fn model(spec: &Spec) -> Result<(), Fault> {
    let architecture = &spec.model.architecture;
    let own = format!("model.{}", architecture.name());
    architecture.validate().map_err(|error| model_fault(&own, error))?;
    spec.network(1).validate().map_err(|error| model_fault("model", error))
}

fn model_fault(prefix: &str, error: robustseg_models::Error) -> Fault {
    match error {
        robustseg_models::Error::Setting { field, reason } => {
            setting(&format!("{prefix}.{field}"), format!("{field} {reason}"))
        }
        other => setting(prefix, other.to_string()),
    }
}

/// The attack's setting under `prefix`, or the setting that the error itself names in full.
fn fault(prefix: &str, error: Error) -> Fault {
    match error {
        Error::Setting { setting: key, reason } => setting(key, reason),
        Error::Attack(robustseg_attacks::Error::Setting { setting: key, value, reason }) => {
            let key = if key == "epsilon" && prefix.ends_with("_newton") { "max_epsilon" } else { key };
            setting(&format!("{prefix}.{key}"), format!("found {value}: {reason}"))
        }
        other => setting(prefix, other.to_string()),
    }
}

fn curve_fault(prefix: &str, curve: &CurveConfig, error: Error) -> Fault {
    match error {
        Error::Setting { reason, .. } => setting(&format!("{prefix}.epsilons"), reason),
        Error::Attack(robustseg_attacks::Error::Setting { setting: "epsilon", value, reason }) => {
            let same = |epsilon: &f64| *epsilon == value || (epsilon.is_nan() && value.is_nan());
            let index = curve.epsilons().iter().position(same).unwrap_or(0);
            setting(&format!("{prefix}.epsilons.{index}"), format!("found {value}: {reason}"))
        }
        other => fault(prefix, other),
    }
}

fn setting(path: &str, message: String) -> Fault {
    Fault { path: path.split('.').map(str::to_owned).collect(), place: None, message }
}
