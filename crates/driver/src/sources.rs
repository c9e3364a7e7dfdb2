//! Checkpoints whose adversarial examples an evaluation uses.

use std::path::PathBuf;

use candle_core::Device;
use robustseg_datasets::Dataset;
use robustseg_evaluation::{Evaluation, Source, SourceRecord};
use robustseg_models::Checkpoint;

use crate::checkpoint::require_classes;
use crate::data::Data;
use crate::memory;
use crate::provenance::CheckpointProvenance;
use crate::spec::Spec;

/// The loaded sources of an evaluation.
pub(crate) struct Sources {
    pub(crate) networks: Vec<Source>,
    pub(crate) records: Vec<SourceRecord>,
}

impl Sources {
    /// Loads the sources of `spec`, an experiment on `data`, onto `device`. `ignore_classes` treats
    /// their classes as those of the data, whatever their names.
    ///
    /// # Errors
    /// If a checkpoint cannot be read or has other classes.
    pub(crate) fn load(
        spec: &Spec,
        data: &Data,
        device: &Device,
        ignore_classes: bool,
    ) -> anyhow::Result<Self> {
        let (mut networks, mut records) = (Vec::new(), Vec::new());
        for (name, path) in &spec.evaluation.sources {
            let Checkpoint { mut network, origin } = Checkpoint::load(path, device)?;
            require_classes(path, &origin, network.config().num_classes, &data.manifest, ignore_classes)?;
            spec.precision.set(&mut network, spec.convolutions)?;
            let CheckpointProvenance { sha256, training, .. } = CheckpointProvenance::of(path, origin)?;
            networks.push(Source { name: name.clone(), network });
            records.push(SourceRecord { name: name.clone(), checkpoint: Some(sha256), training });
        }
        Ok(Self { networks, records })
    }

    /// Requires the memory that attacks on each source need at least, on images of `dataset`.
    ///
    /// # Errors
    /// The errors of [`memory::require_for_evaluation`].
    pub(crate) fn require_memory(&self, spec: &Spec, dataset: &Dataset) -> anyhow::Result<()> {
        self.networks.iter().try_for_each(|source| {
            memory::require_for_evaluation(source.network.config(), spec.precision, &spec.evaluation, dataset)
        })
    }

    /// Records in `evaluation` what the sources are.
    pub(crate) fn say(self, evaluation: &mut Evaluation) {
        evaluation.sources = self.records;
    }
}

/// Parses `NAME=FILE`, the value of `--source`.
pub(crate) fn parse(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            let file = std::path::absolute(file).map_err(|error| error.to_string())?;
            Ok((name.to_owned(), file))
        }
        _ => Err("expected NAME=FILE, a name for results and a checkpoint".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_name_and_a_file() {
        assert_eq!(
            parse("basic=/x/last=1.safetensors"),
            Ok(("basic".into(), "/x/last=1.safetensors".into()))
        );
        assert!(parse("basic=x").is_ok_and(|(_, file)| file.is_absolute()));
        for wrong in ["x.safetensors", "=x", "basic=", ""] {
            assert!(parse(wrong).unwrap_err().contains("NAME=FILE"), "{wrong}");
        }
    }
}
