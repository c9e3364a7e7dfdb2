//! Job arrays of Slurm: one script, one job, an element for each run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use robustseg_files::{create_folders, write_atomically};

use super::Series;
use super::command::{Way, quoted, shell_line};
use crate::device::DeviceChoice;
use crate::records::{Submission, read_json};

/// How often an element may be requeued before it stays interrupted.
const RESTARTS: u32 = 100;

/// How a job array is submitted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slurm {
    /// Runs at a time. `None` for as many as the cluster takes.
    pub(crate) jobs: Option<usize>,
    /// The device, instead of the specs' choices.
    pub(crate) device: Option<DeviceChoice>,
    /// Further options of sbatch.
    pub(crate) options: Vec<String>,
}

/// An element of a job array that Slurm has not finished.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Queued {
    /// Its name, such as `12_3`.
    pub(crate) element: String,
    /// Whether it runs, or ends, on a node.
    pub(crate) at_work: bool,
}

impl Slurm {
    /// The script of the runs with these `numbers`, from 1. `series` has absolute paths.
    pub(crate) fn script(&self, series: &Series, program: &Path, numbers: &[usize]) -> String {
        let limit = self.jobs.map_or(String::new(), |jobs| format!("%{jobs}"));
        let log = series.log("slurm-%A_%a");
        let mut text = format!(
            "#!/usr/bin/env bash\n\
             # Runs of the sweep {0}, each an element of a job array: sbatch FILE\n\
             #SBATCH --job-name={0}\n\
             #SBATCH --array={1}{limit}\n\
             #SBATCH --output={2}\n\
             #SBATCH --open-mode=append\n\
             #SBATCH --requeue\n\
             # Two minutes before the time limit a run saves its state.\n\
             #SBATCH --signal=USR1@120\n",
            quoted(&series.name),
            ranges(numbers),
            quoted(&log.to_string_lossy()),
        );
        for option in lines(&self.options) {
            text += &format!("#SBATCH {option}\n");
        }
        text += "\ncase $SLURM_ARRAY_TASK_ID in\n";
        for number in numbers {
            let name = &series.members[number - 1].name;
            let way = Way { device: self.device, ..Way::default() };
            text += &format!("{number}) run=({}) ;;\n", shell_line(program, &series.arguments(name, way)));
        }
        text += "*) echo \"no run has the number $SLURM_ARRAY_TASK_ID\" >&2 && exit 2 ;;\nesac\n";
        text += &BODY.replace("RESTARTS", &RESTARTS.to_string());
        text
    }

    /// Writes and submits the script of the runs with these `numbers`. Returns its path and the
    /// job's number.
    ///
    /// # Errors
    /// If sbatch is missing or refuses the script, or a file cannot be written.
    pub(crate) fn submit(&self, series: &Series, numbers: &[usize]) -> anyhow::Result<(PathBuf, String)> {
        let program = std::env::current_exe().context("finding this program")?;
        let folder = series.submissions();
        for folder in [&folder, &series.own().join("logs")] {
            create_folders(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let place = |number: u32| folder.join(format!("{number}.sh"));
        let path = (1..u32::MAX).map(place).find(|path| !path.exists()).context("naming the script")?;
        let write = |path: &Path, text: &str| {
            write_atomically(path, text.as_bytes()).with_context(|| format!("writing {}", path.display()))
        };
        write(&path, &self.script(series, &program, numbers))?;
        let job = sbatch(&path).inspect_err(|_| drop(fs::remove_file(&path)))?;
        let runs = numbers.iter().map(|number| (*number, series.members[number - 1].name.clone())).collect();
        let submission = Submission { job: job.clone(), runs };
        write(&path.with_extension("json"), &(serde_json::to_string_pretty(&submission)? + "\n"))?;
        Ok((path, job))
    }
}

/// Submits the script at `path`. Returns the job's number.
fn sbatch(path: &Path) -> anyhow::Result<String> {
    let output = Command::new("sbatch").arg("--parsable").arg(path).output();
    let output = output.context(
        "starting sbatch; where there is no Slurm, --on list prints the commands for another runner",
    )?;
    let answer = String::from_utf8_lossy(&output.stdout);
    let job = answer.trim().split(';').next().unwrap_or_default().to_owned();
    if !output.status.success() || job.is_empty() {
        bail!("sbatch refuses the job array: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(job)
}

impl Series {
    fn submissions(&self) -> PathBuf {
        self.own().join("slurm")
    }

    /// The runs that submitted job arrays have not finished, by name. Empty where Slurm does not
    /// answer.
    ///
    /// # Errors
    /// If a file of the sweep is damaged.
    pub(crate) fn queued(&self) -> anyhow::Result<BTreeMap<String, Queued>> {
        let mut found = BTreeMap::new();
        let Ok(entries) = fs::read_dir(self.submissions()) else { return Ok(found) };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        for path in paths.filter(|path| path.extension().is_some_and(|ending| ending == "json")) {
            let Some(Submission { job, runs }) = read_json(&path)? else { continue };
            let squeue = ["--noheader", "--array", "--jobs", &job, "--format", "%K %t"];
            let Ok(output) = Command::new("squeue").args(squeue).output() else { continue };
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                let Some((index, state)) = line.trim().split_once(' ') else { continue };
                let name = index.parse().ok().and_then(|index: usize| runs.get(&index));
                if let Some(name) = name {
                    let element = format!("{job}_{index}");
                    found.insert(name.clone(), Queued { element, at_work: state.trim() != "PD" });
                }
            }
        }
        Ok(found)
    }
}

/// The end of a script: one run, and whether it is queued again.
const BODY: &str = "
export RAYON_NUM_THREADS=${RAYON_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}}
[ -z \"${SLURM_CPUS_PER_TASK:-}\" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
# scancel sends SIGTERM to this script too. A run that was cancelled is not queued again.
cancelled=
trap 'cancelled=1' TERM
srun \"${run[@]}\"
status=$?
if [ \"$status\" = 5 ] && [ -z \"$cancelled\" ] && [ \"${SLURM_RESTART_COUNT:-0}\" -lt RESTARTS ]; then
    # The time is up, and the state is saved. The number of a job may stand for the whole array.
    scontrol requeue \"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID\" && sleep 60
fi
exit \"$status\"
";

/// Rising `numbers` as sbatch takes them: `1-3,7`.
fn ranges(numbers: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let shown = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    ranges.into_iter().map(shown).collect::<Vec<_>>().join(",")
}

/// Options of a command line, one for each line: `--time 10` is one of two words.
fn lines(options: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for option in options.iter().map(|option| option.replace(['\n', '\r'], " ")) {
        match lines.last_mut() {
            Some(line) if !option.starts_with('-') => *line += &format!(" {}", quoted(&option)),
            _ => lines.push(quoted(&option)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_ranges_and_options_lines() {
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), "1-3,7,9-10");
        let options = ["--time", "1:00:00", "--partition=gpu", "-c", "2"].map(str::to_owned);
        assert_eq!(lines(&options), ["--time 1:00:00", "--partition=gpu", "-c 2"]);
    }
}
