//! The command line.

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::{
    attack, bench, check, compare, completions, data, evaluate, import, predict, run, schema, sweep,
};
use crate::exit::Exit;
use crate::interrupt::tame_signals;
use crate::records::Outcome;
use crate::{log, output, panic, ranks};

/// The environment variables in use, for the help text.
const ENVIRONMENT: &str = "\
Environment variables:
  ROBUSTSEG_DATA      the folder of all datasets, each in the folder that its manifest names
  ROBUSTSEG_LOG       what is logged: error, warn, info (the default) or debug, also part by part
                      (info,robustseg_models=debug)
  RAYON_NUM_THREADS   threads that compute [default: one for each processor]
  ROBUSTSEG_MPI       the library of MPI for runs of several processes [default: the first that is found]
  HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE
                      the hub's folder, cache, token and address, and whether to use its cache alone
  SSL_CERT_FILE       root certificates that downloads trust, in place of the built-in ones
  NO_COLOR            if it is set, nothing is coloured
  TERM                if it is `dumb`, nothing is coloured and no bars are drawn";

/// Adversarial training for semantic segmentation: from an experiment's spec to a robustness
/// report.
///
/// Exit status: 0 done; 2 wrong command line or spec; 3 missing or broken data; 4 training failed;
/// 5 interrupted with the state saved, continue with --resume; 1 any other error.
#[derive(Parser)]
#[command(name = "robustseg", version, propagate_version = true, max_term_width = 110, after_help = ENVIRONMENT)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trains, evaluates and reports: the whole experiment.
    Run(run::Run),
    /// Runs a grid of experiments: here, on Slurm, or on any other runner.
    Sweep(sweep::Sweep),
    /// Reads and resolves a spec, verifies its data and prints the plan, without training.
    Check(check::Check),
    /// Evaluates a given checkpoint as the spec says.
    Evaluate(evaluate::Evaluate),
    /// Reads a published checkpoint, of PyTorch or the hub, and writes it as one of robustseg.
    Import(import::Import),
    /// Predicts a label map and an overlay for each image.
    Predict(predict::Predict),
    /// Crafts adversarial examples.
    Attack(attack::Attack),
    /// Compares several runs in figures and tables.
    Compare(compare::Compare),
    /// Measures the seconds per training step of each method.
    Bench(bench::Bench),
    /// Describes, verifies, downloads, prepares or shows a dataset.
    #[command(subcommand)]
    Data(data::Data),
    /// Prints the JSON schema of specs, sweeps or manifests for editors, or a page of all keys of specs.
    Schema(schema::Schema),
    /// Prints a completion script for a shell.
    Completions(completions::Completions),
}

/// Runs the command line of this process and returns its exit status. Errors go to standard error
/// as one paragraph.
pub fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    log::start();
    let outcome = match &command {
        Command::Run(run) => run.outcome().map(Path::to_owned),
        _ => None,
    };
    let begun = outcome.as_deref().map_or(Ok(()), |path| Outcome::now(None, None).write(path));
    let result =
        tame_signals().map_err(Into::into).and(begun).and_then(|()| panic::caught(|| execute(command)));
    let (exit, error) = match result.and_then(|()| output::finish()) {
        Ok(()) => (Exit::Done, None),
        Err(error) => (Exit::of(&error), Some(one_paragraph(&error))),
    };
    let told = error.clone().unwrap_or_default();
    if exit == Exit::Done {
        log::finish();
    }
    ranks::end(exit, |who| {
        eprintln!("robustseg: {who}{told}");
        log::keep_error(&told);
        log::finish();
    });
    if let Some(path) = outcome
        && let Err(error) = Outcome::now(Some(exit as u8), error).write(&path)
    {
        eprintln!("robustseg: {}", one_paragraph(&error));
    }
    exit.into()
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(command) => command.execute(),
        Command::Sweep(command) => command.execute(),
        Command::Check(command) => command.execute(),
        Command::Evaluate(command) => command.execute(),
        Command::Import(command) => command.execute(),
        Command::Predict(command) => command.execute(),
        Command::Attack(command) => command.execute(),
        Command::Compare(command) => command.execute(),
        Command::Bench(command) => command.execute(),
        Command::Data(command) => command.execute(),
        Command::Schema(command) => command.execute(),
        Command::Completions(command) => {
            command.print(Cli::command());
            Ok(())
        }
    }
}

/// The error and its causes in one line, without the backtraces that candle adds to its messages.
fn one_paragraph(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some messages already contain their cause.
        if !text.contains(&cause) {
            text += if text.is_empty() { "" } else { ": " };
            text += &cause;
        }
    }
    let mut in_backtrace = false;
    let mut told = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let number = line.split_once(": ").map_or("", |(number, _)| number);
        let is_frame = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        in_backtrace = is_frame || in_backtrace && line.starts_with("at ");
        if !in_backtrace {
            told.push(line);
        }
    }
    told.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use candle_core::Error;
    use std::backtrace::Backtrace;

    #[test]
    fn a_message_around_an_error_of_candle_is_told_without_its_backtrace() {
        let inner = Box::new(Error::Msg("tensor x is missing".into()));
        let error = Error::WithBacktrace { inner, backtrace: Box::new(Backtrace::force_capture()) };
        let around =
            Err::<(), _>(anyhow::anyhow!("a.safetensors: {error}; save it again")).context("loading");
        let told = one_paragraph(&around.unwrap_err());
        assert!(told.starts_with("loading: a.safetensors: tensor x is missing"), "{told}");
        assert!(told.ends_with("; save it again") && told.len() < 80, "{told}");
    }

    #[test]
    fn the_examples_of_help_texts_are_understood() {
        let mut found = 0;
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter(|line| line.starts_with("  robustseg")) {
                let parsed = Cli::try_parse_from(line.split_whitespace());
                assert!(
                    parsed.is_ok(),
                    "{line}: {}",
                    parsed.err().map_or(String::new(), |error| error.to_string())
                );
                found += 1;
            }
        }
        assert!(found > 8, "{found}");
    }
}
