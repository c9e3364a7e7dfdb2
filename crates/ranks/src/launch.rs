//! The variables by which launchers tell a process its place.

/// A process's place among those that a launcher started, as far as its environment tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// The number of processes.
    pub size: Option<usize>,
    /// The number of processes on this machine.
    pub local_size: Option<usize>,
    /// The number of this process among those on this machine, from 0.
    pub local_rank: Option<usize>,
}

/// Variables of torchrun, Open MPI, MPICH and Slurm, the most specific first. A `run` within an
/// allocation of Slurm has Slurm's variables too, so they count least.
const SIZE: &[&str] = &["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "WORLD_SIZE", "SLURM_STEP_NUM_TASKS"];
const LOCAL_SIZE: &[&str] = &["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "LOCAL_WORLD_SIZE"];
const LOCAL_RANK: &[&str] = &["OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "LOCAL_RANK", "SLURM_LOCALID"];

impl Launch {
    /// The place of this process.
    pub fn of_this_process() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    /// The place according to `variable`, which gives a variable of the environment.
    ///
    /// ```
    /// use robustseg_ranks::Launch;
    /// let torchrun = [("WORLD_SIZE", "8"), ("LOCAL_WORLD_SIZE", "4"), ("LOCAL_RANK", "3")];
    /// let launch = Launch::of(|name| torchrun.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into()));
    /// assert_eq!(launch, Launch { size: Some(8), local_size: Some(4), local_rank: Some(3) });
    /// ```
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&str]| names.iter().find_map(|name| variable(name)?.trim().parse().ok());
        // Slurm writes the tasks of each node like 4(x2),3: here all nodes count as the first.
        let of_slurm = || {
            let tasks = variable("SLURM_STEP_TASKS_PER_NODE")?;
            tasks.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
        };
        Self {
            size: first(SIZE),
            local_size: first(LOCAL_SIZE).or_else(of_slurm),
            local_rank: first(LOCAL_RANK),
        }
    }

    /// The threads that a process should compute with, of the `available` ones among the machine's
    /// `all`. A launcher that binds its processes to cores has divided them already.
    ///
    /// ```
    /// use robustseg_ranks::Launch;
    /// let four = Launch { local_size: Some(4), ..Launch::default() };
    /// assert_eq!([four.threads(16, 16), four.threads(2, 16), four.threads(2, 2)], [4, 2, 1]);
    /// ```
    pub fn threads(&self, available: usize, all: usize) -> usize {
        let share = all / self.local_size.unwrap_or(1).max(1);
        available.min(share).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slurms_and_broken_variables_are_understood() {
        let slurm = |name: &str| {
            let value = match name {
                "SLURM_STEP_NUM_TASKS" => "12",
                "SLURM_STEP_TASKS_PER_NODE" => "4(x3)",
                "SLURM_LOCALID" => "2",
                "WORLD_SIZE" => "many",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let expected = Launch { size: Some(12), local_size: Some(4), local_rank: Some(2) };
        assert_eq!(Launch::of(slurm), expected);
        assert_eq!(Launch::of(|_| None), Launch::default());
    }
}
