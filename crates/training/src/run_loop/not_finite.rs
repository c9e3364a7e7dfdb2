//! Steps with numbers that are not finite.

use std::sync::atomic::AtomicBool;

use robustseg_files::sealed::Sealed;

use super::tests::Bench;
use super::*;
use crate::{Basic, fixture, resume};

/// Makes a bias invalid after step 1, and repairs it as soon as a step was skipped.
struct Poison {
    bias: candle_core::Var,
    former: Option<candle_core::Tensor>,
    kinds: Vec<(String, u64)>,
}

impl Observer for Poison {
    fn event(&mut self, event: &Event) -> std::io::Result<()> {
        let event = serde_json::to_value(event)?;
        let (kind, step) = (event["kind"].as_str().unwrap_or_default(), event["step"].as_u64().unwrap_or(99));
        let set = |value: &candle_core::Tensor| {
            robustseg_ops::assign(&self.bias, value).map_err(std::io::Error::other)
        };
        match (kind, step) {
            ("step", 1) => {
                self.former = Some(self.bias.copy().map_err(std::io::Error::other)?);
                set(&(self.bias.as_tensor() * f64::NAN).map_err(std::io::Error::other)?)?;
            }
            ("step_skipped", _) => set(self.former.as_ref().expect("spoilt before"))?,
            _ => {}
        }
        self.kinds.push((kind.into(), step));
        Ok(())
    }
}

#[test]
fn a_step_that_is_not_finite_ends_the_training_or_is_left_out() -> Result<()> {
    for skip_not_finite in [0, 1] {
        let mut bench = Bench::new()?;
        bench.config.method = Basic {}.into();
        bench.config.skip_not_finite = skip_not_finite;
        let mut trainer = bench.trainer()?;
        let bias = trainer.network().parameters()["classifier.bias"].var.clone();
        let mut poison = Poison { bias, former: None, kinds: Vec::new() };
        let stop = AtomicBool::new(false);
        let run = fixture::run(&bench.dataset, bench.folder.path(), &stop);
        let outcome = trainer.run(&run, &mut poison);
        let told = |kind: &str, step| poison.kinds.contains(&(kind.into(), step));
        if skip_not_finite == 1 {
            assert_eq!(outcome?, Outcome::Finished);
            assert!(told("step_skipped", 2) && !told("step", 2) && told("step", 5));
            assert_eq!((trainer.steps_done(), trainer.timing().steps, trainer.state.left_out), (6, 5, 1));
            continue;
        }
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains("the loss is NaN at step 2 (learning rate"), "{message}");
        assert!(told("training_failed", 2) && !told("step_skipped", 2));
        let read = |name| std::fs::read(bench.folder.path().join(name)).expect(name);
        let (state, batch) = (read(resume::FILE), read("failed_batch.safetensors"));
        assert!(Sealed::parse(&state).expect("that of step 2").metadata["resume"].contains("\"step\":2"));
        let batch = Sealed::parse(&batch).expect("a batch");
        assert_eq!(batch.tensors.tensor("image").expect("its images").shape(), [2, 3, 24, 24]);
        assert_eq!(batch.metadata["samples"].lines().count(), 2);
        assert!(message.contains(&batch.metadata["samples"].replace('\n', ", ")), "{message}");
        assert!(bench.folder.path().join("failed.safetensors").exists());
    }
    Ok(())
}
