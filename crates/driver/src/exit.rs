//! Exit statuses, and the errors that lead to them.

use std::process::ExitCode;

use robustseg_evaluation::Error as EvaluationError;
use robustseg_training::Error as TrainingError;

use crate::spec::SpecError;

/// The exit status of a command. Other programs rely on these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Done = 0,
    /// Any error without its own status.
    Other = 1,
    /// The command line or the spec is wrong.
    Usage = 2,
    /// Data or an input file is missing or broken.
    Data = 3,
    /// Training failed: a quantity is not finite, or memory ran out.
    Training = 4,
    /// Interrupted with the state saved; `--resume` continues.
    Interrupted = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// The command line is wrong. The text says how, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Data or an input file is missing or broken. The text says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadData(pub String);

/// Memory or threads are not available. The text says how much was requested, and what to lower.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OutOfMemory(pub String);

/// The stop flag was set, and the state was saved.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; the state is saved, the same command with --resume continues")]
pub struct Interrupted;

/// The stop flag was set where nothing is saved.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; nothing is saved without an --out, with which --resume would continue")]
pub struct NotSaved;

/// Another process of the run failed, with this status, and says why.
#[derive(Debug, thiserror::Error)]
#[error("another process of this run failed")]
pub struct Elsewhere(pub Exit);

/// Some of several runs failed. The text says which, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct RunsFailed {
    /// The status that the failed runs share, or [`Exit::Other`].
    pub exit: Exit,
    /// The runs, and what to do.
    pub text: String,
}

impl Exit {
    /// The exit status with this number.
    pub fn of_status(status: u8) -> Self {
        let all = [Self::Done, Self::Other, Self::Usage, Self::Data, Self::Training, Self::Interrupted];
        all.into_iter().find(|exit| *exit as u8 == status).unwrap_or(Self::Other)
    }

    /// The exit status of `error`.
    pub fn of(error: &anyhow::Error) -> Self {
        let mut known = error.chain().filter_map(|cause| {
            let is = |exit: Exit, matches: bool| matches.then_some(exit);
            is(Self::Usage, cause.is::<Usage>() || cause.is::<SpecError>())
                .or(is(Self::Data, cause.is::<BadData>() || cause.is::<robustseg_datasets::Error>()))
                .or(is(Self::Training, cause.is::<OutOfMemory>()))
                .or(is(Self::Interrupted, cause.is::<Interrupted>()))
                .or_else(|| cause.downcast_ref().map(|RunsFailed { exit, .. }| *exit))
                .or_else(|| cause.downcast_ref().map(|Elsewhere(exit)| *exit))
                .or_else(|| cause.downcast_ref().map(of_ranks))
                .or_else(|| cause.downcast_ref().map(of_training))
                .or_else(|| cause.downcast_ref().map(of_evaluation))
                .or_else(|| cause.downcast_ref().map(of_attack))
                .or_else(|| cause.downcast_ref().map(of_published))
                .or_else(|| cause.downcast_ref().map(of_model))
                .or_else(|| cause.downcast_ref().map(of_candle))
        });
        known.next().unwrap_or(Self::Other)
    }
}

fn of_ranks(error: &robustseg_ranks::Error) -> Exit {
    use robustseg_ranks::Error;
    match error {
        Error::NoMpi(_) | Error::NotConnected { .. } => Exit::Usage,
        Error::Call { .. } | Error::Gone | Error::Disagreement { .. } => Exit::Other,
    }
}

fn of_training(error: &TrainingError) -> Exit {
    match error {
        TrainingError::Setting { .. } | TrainingError::Method { .. } => Exit::Usage,
        TrainingError::Data(_)
        | TrainingError::Resume { .. }
        | TrainingError::Metric(_)
        | TrainingError::Mismatch { .. } => Exit::Data,
        TrainingError::NotFinite { .. } => Exit::Training,
        TrainingError::Evaluation(error) => of_evaluation(error),
        TrainingError::Attack(error) => of_attack(error),
        TrainingError::Model(error) => of_model(error),
        TrainingError::Candle(error) => of_candle(error),
        TrainingError::Ranks(error) => of_ranks(error),
        TrainingError::NoGradient(_)
        | TrainingError::File { .. }
        | TrainingError::Observer(_)
        | TrainingError::Elsewhere => Exit::Other,
    }
}

fn of_evaluation(error: &EvaluationError) -> Exit {
    match error {
        EvaluationError::Setting { .. } | EvaluationError::Curve { .. } => Exit::Usage,
        EvaluationError::Data(_)
        | EvaluationError::Damaged { .. }
        | EvaluationError::OtherEvaluation { .. }
        | EvaluationError::Metric(_)
        | EvaluationError::Mismatch { .. } => Exit::Data,
        EvaluationError::Interrupted => Exit::Interrupted,
        EvaluationError::Attack(error) => of_attack(error),
        EvaluationError::Model(error) => of_model(error),
        EvaluationError::Candle(error) => of_candle(error),
        EvaluationError::Ranks(error) => of_ranks(error),
        EvaluationError::File { .. } => Exit::Other,
    }
}

fn of_attack(error: &robustseg_attacks::Error) -> Exit {
    use robustseg_attacks::Error;
    match error {
        Error::Setting { .. } | Error::NoEpsilon | Error::Attack { .. } => Exit::Usage,
        Error::Input { .. } => Exit::Data,
        Error::NotFinite { .. } => Exit::Training,
        Error::Candle(error) => of_candle(error),
        // Neither the training nor the data is at fault: the model itself cannot be attacked.
        Error::NoGradient | Error::WrongGradient { .. } => Exit::Other,
    }
}

fn of_published(error: &robustseg_published::Error) -> Exit {
    use robustseg_published::Error;
    match error {
        Error::PyTorch(_) | Error::File { .. } | Error::Misfit { .. } => Exit::Data,
        Error::Classes { .. } => Exit::Usage,
        Error::Model(error) => of_model(error),
    }
}

fn of_model(error: &robustseg_models::Error) -> Exit {
    use robustseg_models::Error;
    match error {
        Error::Checkpoint { .. } | Error::Pretrained { .. } => Exit::Data,
        Error::Setting { .. } => Exit::Usage,
        Error::Write { .. } => Exit::Other,
        Error::Candle(error) => of_candle(error),
    }
}

fn of_candle(error: &candle_core::Error) -> Exit {
    if robustseg_ops::is_out_of_memory(error) { Exit::Training } else { Exit::Other }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn an_error_keeps_its_status_under_context() {
        let status = |error: anyhow::Error| Exit::of(&Err::<(), _>(error).context("outside").unwrap_err());
        assert_eq!(status(Usage("x".into()).into()), Exit::Usage);
        assert_eq!(status(BadData("x".into()).into()), Exit::Data);
        assert_eq!(status(OutOfMemory("x".into()).into()), Exit::Training);
        assert_eq!(status(Interrupted.into()), Exit::Interrupted);
        assert_eq!(status(EvaluationError::Interrupted.into()), Exit::Interrupted);
        let (what, expected, actual) = ("image", String::new(), String::new());
        let input = robustseg_attacks::Error::Input { what, expected, actual };
        assert_eq!(status(TrainingError::Attack(input).into()), Exit::Data);
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let full = robustseg_models::Error::Write { path: "last.safetensors".into(), source: full };
        assert_eq!(status(TrainingError::Model(full).into()), Exit::Other);
        let other = candle_core::Error::Msg("out of memory".into());
        assert_eq!(status(TrainingError::Candle(other).into()), Exit::Other, "a text decides nothing");
        assert_eq!(status(anyhow::anyhow!("x")), Exit::Other);
        let exit = Exit::of_status(3);
        assert_eq!(status(RunsFailed { exit, text: "x".into() }.into()), Exit::Data);
        assert_eq!(Exit::of_status(137), Exit::Other);
    }
}
