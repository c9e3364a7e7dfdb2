//! Evaluations in several parts, and damaged journals.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use robustseg_attacks::{CurveConfig, Pgd, Sea};
use robustseg_models::Network;

use super::{Journal, LOG, example_file};
use crate::{
    Advance, AttackedPart, Error, Evaluated, EvaluationConfig, MultiScale, Protocol, Result, Semseg, Source,
    Subject, evaluate, evaluate_with, fixture,
};

fn config() -> EvaluationConfig {
    let pgd = CurveConfig::new(Pgd { alpha: 0.01, steps: 2, restarts: 2, ..Pgd::default() }, vec![0.0, 0.03]);
    let sea = CurveConfig::new(Sea { steps: 4, ..Sea::default() }, vec![0.02, 0.03]);
    let curves = vec![pgd, sea];
    EvaluationConfig { curves, examples: 2, seed: 3, ..EvaluationConfig::default() }
}

fn sources() -> Result<[Source; 1]> {
    Ok([Source { name: "other".into(), network: fixture::network(2)? }])
}

fn open(folder: &Path, config: &EvaluationConfig) -> Result<Journal> {
    let subject = Subject { network: &fixture::network(1)?, sources: &sources()? };
    Journal::open(folder, "data", subject, &fixture::dataset()?, config)
}

/// Evaluates until `images` images are done.
fn until(folder: &Path, config: &EvaluationConfig, images: u64) -> Result<Evaluated> {
    let (network, dataset, stop) = (fixture::network(1)?, fixture::dataset()?, AtomicBool::new(false));
    let mut stopper = |advance: Advance| stop.store(advance.images >= images, Ordering::Relaxed);
    let subject = Subject { network: &network, sources: &sources()? };
    evaluate_with(&mut open(folder, config)?, subject, &dataset, config, &stop, &mut stopper)
}

fn assert_equal(found: &Evaluated, expected: &Evaluated) {
    assert_eq!(found.evaluation, expected.evaluation);
    assert_eq!(found.images, expected.images);
    assert!(found.examples == expected.examples, "other examples");
    assert_eq!(found.example_attack, expected.example_attack);
}

#[test]
fn an_evaluation_in_parts_equals_one_without_interruption() -> Result<()> {
    let (network, dataset, sources) = (fixture::network(1)?, fixture::dataset()?, sources()?);
    let subject = Subject { network: &network, sources: &sources };
    let crops = Semseg { long_side: 40, crop: 27, attack: AttackedPart::Crops, ..Semseg::default() };
    for (batch_size, protocol) in [(1, Protocol::WholeImage), (4, Protocol::Semseg(crops))] {
        let config = EvaluationConfig { batch_size, protocol, ..config() };
        let whole = evaluate(subject, &dataset, &config, &AtomicBool::new(false), &mut |_| {})?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path().join("journal");
        let mut images = 1;
        let found = loop {
            match until(&folder, &config, images) {
                Err(Error::Interrupted) => images = open(&folder, &config)?.images() as u64 + 1,
                done => break done?,
            }
        };
        assert_equal(&found, &whole);
        // And an evaluation that starts from a complete journal.
        assert_equal(&until(&folder, &config, u64::MAX)?, &whole);
        assert!(example_file::numbers_in(&folder)?.len() == 2, "examples that lost their place are deleted");
        Journal::remove(&folder)?;
        assert!(!folder.exists());
    }
    Ok(())
}

#[test]
fn a_torn_line_is_dropped_and_a_damaged_one_named() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (folder, config) = (folder.path(), config());
    assert!(matches!(until(folder, &config, 2), Err(Error::Interrupted)));
    let log = folder.join(LOG);
    let whole = fs::read(&log).expect("the log");
    let write = |bytes: &[u8]| fs::write(&log, bytes).expect("the log");
    for torn in [&whole[..whole.len() - 1], &[&whole[..whole.len() - 5], &[0; 5]].concat()] {
        write(torn);
        assert_eq!(open(folder, &config)?.images(), 1);
        // Opening the journal drops it.
        write(&whole);
    }
    write(&whole[..20]);
    assert_eq!(open(folder, &config)?.images(), 0);
    let refused = |bytes: &[u8], part: &str| {
        write(bytes);
        let error = open(folder, &config).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(LOG) && error.contains(part), "{error}");
        assert!(fs::read(&log).expect("the log") == bytes, "it is left as it was");
    };
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    for line in 0..lines.len() {
        let mut damaged = whole.clone();
        damaged[lines[..line].concat().len() + lines[line].len() / 2] ^= 1;
        refused(&damaged, &format!("line {} is damaged", line + 1));
    }
    // A line that is missing or repeated.
    refused(&[lines[0], lines[2]].concat(), "line 2 is damaged");
    refused(&[lines[0], lines[1], lines[1]].concat(), "line 3 is damaged");
    Ok(())
}

#[test]
fn records_of_another_evaluation_are_refused() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (folder, config) = (folder.path(), config());
    assert!(matches!(until(folder, &config, 1), Err(Error::Interrupted)));
    let (network, dataset, sources) = (fixture::network(1)?, fixture::dataset()?, sources()?);
    let refuses = |identity: &str, subject: Subject<'_>, config: &EvaluationConfig, expected: &str| {
        match Journal::open(folder, identity, subject, &dataset, config) {
            Err(Error::OtherEvaluation { what, .. }) => assert_eq!(what, expected),
            opened => panic!("{:?}", opened.map(|journal| journal.images())),
        }
    };
    let refused = |identity: &str, network: &Network, config: &EvaluationConfig, expected: &str| {
        refuses(identity, Subject { network, sources: &sources }, config, expected);
    };
    refused("other data", &network, &config, "data or precision");
    refused("data", &fixture::network(2)?, &config, "weights");
    refuses("data", Subject::from(&network), &config, "weights of sources");
    let settings = EvaluationConfig { seed: 4, ..config.clone() };
    refused("data", &network, &settings, "evaluation settings");
    let protocol = Protocol::MultiScale(MultiScale::default());
    let settings = EvaluationConfig { protocol, ..config.clone() };
    refused("data", &network, &settings, "evaluation settings");
    assert_eq!(open(folder, &config)?.images(), 1);

    // A damaged example is reported when it is needed.
    let example = example_file::path_of(folder, 0);
    let mut bytes = fs::read(&example).expect("an example");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&example, bytes).expect("an example");
    let error = until(folder, &config, u64::MAX).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("example-00000.safetensors") && error.contains("damaged"), "{error}");
    Ok(())
}
