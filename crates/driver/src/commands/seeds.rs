//! `run --seeds`: a sweep of one axis.

use std::path::Path;
use std::str::FromStr;

use crate::exit::Usage;
use crate::spec::{LayerSource, Layered, Member, Spec};
use crate::sweep::Series;

/// The most seeds of one command.
const MOST: u64 = 1000;

/// Different seeds, in the order of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seeds(Vec<u64>);

impl Seeds {
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "expected seeds such as 0..2 (0, 1 and 2), or 3,5".to_owned();
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| form());
        let mut seeds = Vec::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once("..") {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if last < first {
                return Err(format!("{part} has its smaller end last; {}", form()));
            }
            if (last - first).saturating_add(seeds.len() as u64) >= MOST {
                return Err(format!("more than {MOST} seeds"));
            }
            for seed in first..=last {
                if seeds.contains(&seed) {
                    return Err(format!("seed {seed} is there twice"));
                }
                seeds.push(seed);
            }
        }
        Ok(Self(seeds))
    }
}

/// Refuses a seed by `--set`.
pub(crate) fn require_no_other(layered: &Layered) -> Result<(), Usage> {
    let sets_seed = |source: &LayerSource| matches!(source, LayerSource::Override(argument) if argument.split('=').next().unwrap_or("").trim() == "seed");
    if layered.layers.iter().any(|layer| sets_seed(&layer.source)) {
        return Err(Usage("--seeds and --set seed name seeds both; keep one of the two".into()));
    }
    Ok(())
}

/// The runs of `layered` with each of `seeds`, in the folder at `path`.
pub(crate) fn series(layered: &Layered, seeds: &Seeds, path: &Path) -> Series {
    let member = |seed: u64| {
        let name = format!("seed-{seed}");
        let spec = Spec { seed, ..layered.spec.clone() };
        Member { values: vec![("seed".to_owned(), name.clone())], name, spec }
    };
    let (name, path) = (layered.spec.name.clone(), path.to_owned());
    Series { name, path, members: seeds.iter().map(member).collect() }
}

/// Refuses runs that have begun.
pub(crate) fn require_new(series: &Series) -> Result<(), Usage> {
    match series.begun() {
        None => Ok(()),
        Some(run) => Err(Usage(format!(
            "{} holds a run already; continue the seeds with --resume, take another --out, or start over with \
             --overwrite, which deletes the runs",
            run.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u64>, String> {
        text.parse().map(|Seeds(seeds)| seeds)
    }

    #[test]
    fn a_range_has_both_its_ends() {
        assert_eq!(read("0..2").unwrap(), [0, 1, 2]);
        assert_eq!(read("7").unwrap(), [7]);
        assert_eq!(read("3, 5..6").unwrap(), [3, 5, 6]);
    }

    #[test]
    fn what_names_no_seeds_is_refused() {
        for text in ["", "2..0", "-1", "0..", "1,1", "0..5,3", "0..18446744073709551615", "a", "0...2"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
