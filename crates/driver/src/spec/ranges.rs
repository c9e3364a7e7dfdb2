//! Refuses values of a spec that have the right type but make no sense.

use robustseg_attacks::Error as AttackError;
use robustseg_evaluation::{Error as EvaluationError, Weights};
use robustseg_training::Error as TrainingError;

use super::{Fault, Spec};

/// Refuses the first value out of its range. The fault has the path of the value.
pub(super) fn check(spec: &Spec) -> Result<(), Fault> {
    name(&spec.name)?;
    text("data.manifest", &spec.data.manifest.to_string_lossy())?;
    text("data.train_split", &spec.data.train_split)?;
    text("data.validation_split", &spec.data.validation_split)?;
    model(spec)?;
    spec.training.validate().map_err(of_training)?;
    let augmentation = spec.training.augmentation.validate();
    augmentation.map_err(|error| setting("training.augmentation", error.to_string()))?;
    if spec.evaluation.weights == Weights::Average && spec.training.average.is_none() {
        let reason = "this training keeps no average; set training.average, for example {decay: 0.999}";
        return Err(setting("evaluation.weights", reason.into()));
    }
    if spec.training.from.is_some() && spec.model.pretrained.is_some() {
        let reason = "model.pretrained names weights to start from too; keep one of the two";
        return Err(setting("training.from", reason.into()));
    }
    spec.evaluation.validate().map_err(of_evaluation)
}

/// The name is also the name of a folder.
pub(super) fn name(name: &str) -> Result<(), Fault> {
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

/// The settings of a kind of network are under its name, next to those that all kinds share.
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

fn of_training(error: TrainingError) -> Fault {
    match error {
        TrainingError::Setting { field, reason } => setting(&format!("training.{field}"), reason),
        TrainingError::Method { method, source } => of_attack(&format!("training.method.{method}"), source),
        other => setting("training", other.to_string()),
    }
}

fn of_evaluation(error: EvaluationError) -> Fault {
    match error {
        EvaluationError::Setting { field, reason } => setting(&format!("evaluation.{field}"), reason),
        EvaluationError::Curve { index, attack, source } => {
            of_attack(&format!("evaluation.curves.{index}.{attack}"), *source)
        }
        other => setting("evaluation", other.to_string()),
    }
}

/// A fault of an attack's settings at `place`.
fn of_attack(place: &str, error: AttackError) -> Fault {
    match error {
        AttackError::Setting { setting: key, value, reason } => {
            setting(&format!("{place}.{key}"), format!("found {value}: {reason}"))
        }
        AttackError::NoEpsilon => setting(&format!("{place}.epsilons"), "a curve needs at least one".into()),
        other => setting(place, other.to_string()),
    }
}

fn setting(path: &str, message: String) -> Fault {
    Fault { path: path.split('.').map(str::to_owned).collect(), place: None, message }
}
