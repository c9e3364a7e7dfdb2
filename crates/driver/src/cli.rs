//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{attack, bench, check, compare, completions, data, evaluate, predict, run, schema};
use crate::exit::Exit;
use crate::interrupt::tame_signals;
use crate::panic;
use crate::progress;

/// Adversarial training for semantic segmentation: from an experiment's spec to a robustness report.
///
/// Exit status: 0 done; 2 the command line or spec is wrong; 3 data is missing or broken; 4 training failed;
/// 5 interrupted, state saved, --resume goes on; 1 anything else.
#[derive(Parser)]
#[command(name = "robustseg", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trains, evaluates and reports: the whole experiment.
    Run(run::Run),
    /// Reads and resolves a spec, verifies its data, prints the plan; trains nothing.
    Check(check::Check),
    /// The spec's evaluation for a given checkpoint.
    Evaluate(evaluate::Evaluate),
    /// Label map and overlay for each image.
    Predict(predict::Predict),
    /// Crafts adversarial examples.
    Attack(attack::Attack),
    /// Figures and tables over several runs.
    Compare(compare::Compare),
    /// Seconds a training step, method by method.
    Bench(bench::Bench),
    /// Verifies, obtains, prepares or shows a dataset.
    #[command(subcommand)]
    Data(data::Data),
    /// Prints the JSON schema of specs, for editors.
    Schema,
    /// Prints a completion script for a shell.
    Completions(completions::Completions),
}

/// Runs the command line of this process and says how it ended. Errors go to standard error as one paragraph.
pub fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    progress::start_logging();
    let result = tame_signals().map_err(Into::into).and_then(|()| panic::caught(|| execute(command)));
    match result {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            eprintln!("robustseg: {}", one_paragraph(&error));
            Exit::of(&error).into()
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(command) => command.execute(),
        Command::Check(command) => command.execute(),
        Command::Evaluate(command) => command.execute(),
        Command::Predict(command) => command.execute(),
        Command::Attack(command) => command.execute(),
        Command::Compare(command) => command.execute(),
        Command::Bench(command) => command.execute(),
        Command::Data(command) => command.execute(),
        Command::Schema => schema::print(),
        Command::Completions(command) => {
            command.print();
            Ok(())
        }
    }
}

/// The error and its causes in one line, without the backtraces that candle puts into its messages.
fn one_paragraph(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some say their cause themselves.
        if !text.contains(&cause) {
            text += if text.is_empty() { "" } else { ": " };
            text += &cause;
        }
    }
    let lines = text.lines().map(str::trim);
    let told: Vec<&str> =
        lines.take_while(|line| !line.starts_with("0: ")).filter(|line| !line.is_empty()).collect();
    told.join(" ")
}
