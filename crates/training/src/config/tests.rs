//! Tests of settings.

use robustseg_attacks::Fgsm;

use super::*;
use crate::{
    AdamW, Basic, ClassWeights, Cosine, CrossEntropy, DdcAt, Dice, Free, Ohem, Polynomial, RsFgsm, Sgd, Sora,
    Step,
};

#[test]
fn defaults_of_a_spec_are_those_of_new() -> serde_json::Result<()> {
    let read: TrainingConfig = serde_json::from_str(r#"{"method": "basic", "epochs": 7}"#)?;
    assert_eq!(read, TrainingConfig::new(Basic {}, 7));
    let written = serde_json::to_string(&read)?;
    assert_eq!(serde_json::from_str::<TrainingConfig>(&written)?, read);
    assert!(
        serde_json::from_str::<TrainingConfig>(r#"{"method": "basic", "epochs": 7, "epoch": 1}"#).is_err()
    );
    assert!(serde_json::from_str::<TrainingConfig>(r#"{"epochs": 7}"#).is_err());
    Ok(())
}

#[test]
fn share_draw_and_statistics_are_the_methods_unless_they_are_given() {
    let practice = |method: &MethodConfig| TrainingConfig::new(method.clone(), 1).practice();
    for method in MethodConfig::paper() {
        let Practice { probability, draw, statistics } = practice(&method);
        let own = (AdversarialDraw::Sample, NormStatistics::Running);
        assert_eq!((probability, (draw, statistics)), (0.5, own), "{}", method.name());
    }
    let of_its_paper = |name, expected| {
        let Practice { probability, draw, statistics } = practice(&MethodConfig::by_name(name).unwrap());
        assert_eq!((probability, draw, statistics), expected, "{name}");
    };
    for name in ["rs_fgsm", "n_fgsm", "grad_align", "free", "pgd_at"] {
        of_its_paper(name, (1.0, AdversarialDraw::Sample, NormStatistics::Batch));
    }
    of_its_paper("fgsm_ckpt", (1.0, AdversarialDraw::Sample, NormStatistics::Running));
    for name in ["segpgd_at", "ddc_at"] {
        of_its_paper(name, (0.5, AdversarialDraw::Exact, NormStatistics::Running));
    }
    let mut given = TrainingConfig::new(RsFgsm::default(), 1);
    given.adversarial_probability = Some(0.25);
    given.resolve();
    assert_eq!(given.practice(), Practice { probability: 0.25, ..given.method.practice() });
    assert_eq!(given.crafting_statistics, Some(NormStatistics::Batch));
    // Settings that were filled in stay when the method changes.
    given.method = Basic {}.into();
    assert_eq!(given.practice().statistics, NormStatistics::Batch);
}

#[test]
fn each_setting_out_of_range_is_named() {
    let good = TrainingConfig::new(Basic {}, 1);
    assert!(good.validate().is_ok());
    let good = || good.clone();
    let adamw = |beta1, epsilon| OptimiserConfig::from(AdamW { beta1, epsilon, ..AdamW::default() });
    let weighted = |weights: &[f64]| {
        let class_weights = ClassWeights::Given(weights.to_vec());
        LossConfig::from(CrossEntropy { class_weights, ..CrossEntropy::default() })
    };
    let nesterov = || OptimiserConfig::from(Sgd { nesterov: true });
    let step = |at: &[f64], factor| ScheduleConfig::from(Step { at: at.to_vec(), factor });
    for (key, bad) in vec![
        ("epochs", TrainingConfig { epochs: 0, ..good() }),
        ("batch_size", TrainingConfig { batch_size: 0, ..good() }),
        ("adversarial_probability", TrainingConfig { adversarial_probability: Some(1.5), ..good() }),
        ("learning_rate", TrainingConfig { learning_rate: f64::INFINITY, ..good() }),
        ("head_learning_rate_factor", TrainingConfig { head_learning_rate_factor: 0.0, ..good() }),
        ("warm_up_epochs", TrainingConfig { warm_up_epochs: 1.5, ..good() }),
        ("warm_up_epochs", TrainingConfig { warm_up_epochs: f64::NAN, ..good() }),
        ("average.decay", TrainingConfig { average: Some(AverageConfig { decay: 1.0 }), ..good() }),
        ("optimiser.adamw.beta1", TrainingConfig { optimiser: adamw(1.0, 1e-8), ..good() }),
        ("optimiser.adamw.epsilon", TrainingConfig { optimiser: adamw(0.9, 0.0), ..good() }),
        ("optimiser.sgd.nesterov", TrainingConfig { optimiser: nesterov(), momentum: 0.0, ..good() }),
        ("schedule.polynomial.end", TrainingConfig { schedule: Polynomial { end: 1.5 }.into(), ..good() }),
        ("schedule.cosine.end", TrainingConfig { schedule: Cosine { end: -0.5 }.into(), ..good() }),
        ("schedule.step.at", TrainingConfig { schedule: step(&[], 0.1), ..good() }),
        ("schedule.step.at", TrainingConfig { schedule: step(&[1.0], 0.1), ..good() }),
        ("schedule.step.at", TrainingConfig { schedule: step(&[f64::NAN], 0.1), ..good() }),
        ("schedule.step.at", TrainingConfig { schedule: step(&[0.5, 0.25], 0.1), ..good() }),
        ("schedule.step.factor", TrainingConfig { schedule: step(&[0.5], 0.0), ..good() }),
        (
            "loss.dice.weight",
            TrainingConfig { loss: Dice { weight: 0.0, ..Dice::default() }.into(), ..good() },
        ),
        (
            "loss.dice.smooth",
            TrainingConfig { loss: Dice { smooth: -1.0, ..Dice::default() }.into(), ..good() },
        ),
        ("loss.ohem.share", TrainingConfig { loss: Ohem { share: 0.0, ..Ohem::default() }.into(), ..good() }),
        (
            "loss.ohem.threshold",
            TrainingConfig { loss: Ohem { threshold: 1.5, ..Ohem::default() }.into(), ..good() },
        ),
        ("loss.cross_entropy.class_weights", TrainingConfig { loss: weighted(&[1.0, -1.0]), ..good() }),
        ("loss.cross_entropy.class_weights", TrainingConfig { loss: weighted(&[0.0, 0.0]), ..good() }),
        ("loss", TrainingConfig { loss: Dice::default().into(), method: Sora::default().into(), ..good() }),
        ("loss", TrainingConfig { loss: weighted(&[1.0, 2.0]), method: DdcAt::default().into(), ..good() }),
        ("accumulate", TrainingConfig { accumulate: 0, ..good() }),
        ("accumulate", TrainingConfig { accumulate: 3, ..good() }),
        ("accumulate", TrainingConfig { accumulate: 2, method: Free::default().into(), ..good() }),
        ("clip_gradient", TrainingConfig { clip_gradient: Some(0.0), ..good() }),
        ("keep_best", TrainingConfig { keep_best: 0, ..good() }),
        ("patience", TrainingConfig { patience: Some(0), epochs: 9, ..good() }),
        ("patience", TrainingConfig { patience: Some(9), epochs: 9, ..good() }),
        ("patience", TrainingConfig { patience: Some(1), epochs: 9, validate_every: 0, ..good() }),
        (
            "validate_under",
            TrainingConfig { validate_under: Some(AttackConfig::new(Fgsm {}, -0.1)), ..good() },
        ),
        ("power", TrainingConfig { power: f64::NAN, ..good() }),
        ("momentum", TrainingConfig { momentum: 1.0, ..good() }),
        ("weight_decay", TrainingConfig { weight_decay: -1e-4, ..good() }),
        ("dropout", TrainingConfig { dropout: 1.0, ..good() }),
    ] {
        let message = bad.validate().unwrap_err().to_string();
        assert!(message.starts_with(&format!("{key}:")), "{message}");
    }
    assert_eq!(good().steps_per_epoch(33).ok(), Some(2));
    let endless = TrainingConfig { epochs: usize::MAX, ..good() };
    assert!(endless.total_steps(33).unwrap_err().to_string().contains("more steps than can be counted"));
    assert!(good().steps_per_epoch(15).unwrap_err().to_string().contains("more than the 15 samples"));
}
