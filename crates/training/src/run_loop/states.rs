//! Saved states: which are refused, and the one before the last.

use std::collections::BTreeMap;

use robustseg_files::sealed::{self, Sealed, seal};
use robustseg_models::PspNetConfig;
use safetensors::tensor::{Dtype, TensorView};

use super::tests::{Bench, weights};
use super::*;
use crate::{fixture, resume};

#[test]
fn states_of_other_runs_and_broken_ones_are_refused() -> Result<()> {
    let bench = Bench::new()?;
    bench.run(&mut bench.trainer()?, Some(1))?;
    let refusal = |trainer: &mut Trainer, spec: &str| {
        let before = weights(trainer).expect("weights");
        let message = trainer.restore(bench.folder.path(), &fixture::identity(spec)).unwrap_err().to_string();
        assert_eq!(weights(trainer).expect("weights"), before, "nothing changes");
        message
    };
    let other = refusal(&mut bench.trainer()?, "another spec");
    assert!(
        other.contains("the spec has changed") && other.contains("spec then, another spec now"),
        "{other}"
    );
    let mut longer = Trainer::new(fixture::network(1)?, &bench.config, 7, 600)?;
    assert!(refusal(&mut longer, "spec").contains("a training of 6 steps, this one has 600"));
    let mut wider = fixture::network(1)?.config().clone();
    wider.architecture = PspNetConfig { layers: [1, 1, 1, 1], width: 8, ..PspNetConfig::default() }.into();
    let wider = robustseg_models::Network::new(&wider, 1, &candle_core::Device::Cpu)?;
    let mut wider = Trainer::new(wider, &bench.config, 7, 6)?;
    assert!(refusal(&mut wider, "spec").contains("is needed"));
    let file = bench.folder.path().join(resume::FILE);
    let whole = std::fs::read(&file).expect("the state");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("a truncated state");
    assert!(refusal(&mut bench.trainer()?, "spec").contains("truncated"));
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    std::fs::write(&file, &flipped).expect("a damaged state");
    assert!(refusal(&mut bench.trainer()?, "spec").contains("is damaged"));
    std::fs::copy(bench.folder.path().join("last.safetensors"), &file).expect("another file");
    assert!(refusal(&mut bench.trainer()?, "spec").contains("not written by a training run"));
    let Sealed { tensors, mut metadata, .. } = Sealed::parse(&whole).expect("the state");
    let newer = metadata.remove("resume").expect("its state").replace("\"version\":2", "\"version\":3");
    let newer = sealed::seal(tensors.tensors(), &BTreeMap::from([("resume", newer)])).expect("a file");
    std::fs::write(&file, &newer).expect("a newer state");
    assert!(refusal(&mut bench.trainer()?, "spec").contains("its version is 3, and this one reads 2"));
    std::fs::remove_file(&file).expect("it was there");
    std::fs::create_dir(&file).expect("a folder in its place");
    assert!(refusal(&mut bench.trainer()?, "spec").contains("is a folder"));
    let message = bench.run(&mut longer, None).unwrap_err().to_string();
    assert!(message.contains("2 epochs of 3 steps"));
    Ok(())
}

#[test]
fn states_of_other_tensors_are_refused() -> Result<()> {
    type Tensors<'a> = Vec<(String, TensorView<'a>)>;
    let bench = Bench::new()?;
    bench.run(&mut bench.trainer()?, Some(1))?;
    let file = bench.folder.path().join(resume::FILE);
    let whole = std::fs::read(&file).expect("the state");
    let Sealed { tensors, metadata, .. } = Sealed::parse(&whole).expect("the state");
    let refusal = |change: &dyn Fn(&mut Tensors<'_>)| {
        let mut tensors: Tensors<'_> = tensors.tensors();
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        change(&mut tensors);
        let other = seal(tensors, &BTreeMap::from([("resume", metadata["resume"].clone())])).expect("a file");
        std::fs::write(&file, other).expect("another state");
        let mut trainer = bench.trainer().expect("a trainer");
        let before = weights(&trainer).expect("weights");
        let message =
            trainer.restore(bench.folder.path(), &fixture::identity("spec")).unwrap_err().to_string();
        assert_eq!(weights(&trainer).expect("weights"), before, "nothing changes");
        assert!(!message.contains("previous state"), "there is no previous state");
        message
    };
    let more = refusal(&|tensors| tensors.push(("more".into(), tensors[0].1.clone())));
    assert!(more.contains("tensor more is not of this network"), "{more}");
    let fewer = refusal(&|tensors| drop(tensors.pop()));
    assert!(fewer.contains("is missing"), "{fewer}");
    let other = refusal(&|tensors| {
        let view = &tensors[0].1;
        tensors[0].1 = TensorView::new(Dtype::U32, view.shape().to_vec(), view.data()).expect("a view");
    });
    assert!(other.contains("is U32") && other.contains("where F32"), "{other}");
    Ok(())
}

#[test]
fn the_state_before_the_last_is_taken_when_asked_for_and_then_is_the_last() -> Result<()> {
    let bench = Bench::new()?;
    let path = bench.folder.path();
    let mut trainer = bench.trainer()?;
    bench.run(&mut trainer, None)?;
    let expected = weights(&trainer)?;
    let (file, former) = (path.join(resume::FILE), path.join(resume::FORMER));
    std::fs::write(&file, b"rust").expect("a damaged state");
    let message = bench.trainer()?.restore(path, &fixture::identity("spec")).unwrap_err().to_string();
    assert!(message.contains("truncated") && message.contains(resume::FORMER), "{message}");
    let mut again = bench.trainer()?;
    assert!(again.restore_or_fall_back(path, &fixture::identity("spec"))?);
    assert_eq!(again.steps_done(), 4);
    assert!(file.exists() && !former.exists());
    bench.run(&mut again, None)?;
    assert_eq!(weights(&again)?, expected);

    // A lost state must not look like a training that never began.
    std::fs::remove_file(&file).expect("it was there");
    assert!(
        bench
            .trainer()?
            .restore(path, &fixture::identity("spec"))
            .unwrap_err()
            .to_string()
            .contains("no such file")
    );
    assert!(bench.trainer()?.restore_or_fall_back(path, &fixture::identity("other")).is_err());
    assert!(bench.trainer()?.restore_or_fall_back(path, &fixture::identity("spec"))?);
    std::fs::write(&file, b"rust").expect("a damaged state");
    let message =
        bench.trainer()?.restore_or_fall_back(path, &fixture::identity("spec")).unwrap_err().to_string();
    assert!(
        message.contains("resume.safetensors") && message.contains("truncated"),
        "nothing to fall back to"
    );
    Ok(())
}
