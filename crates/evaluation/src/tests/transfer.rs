//! Evaluations under examples of other models.

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use candle_core::Tensor;
use robustseg_attacks::{Bim, CurveConfig, Model};

use super::{batch, curves, reads_red, scene, whole};
use crate::tally::{Models, Tally};
use crate::{
    Advance, AttackedPart, Curve, Evaluation, EvaluationConfig, ImageRecord, Protocol, Result, Semseg,
    Source, Subject, Warning, WarningKind, evaluate, fixture,
};

#[test]
fn examples_of_another_model_reveal_masked_gradients() -> Result<()> {
    let (image, label) = scene(0.5)?;
    // The same scores with a gradient of zero.
    let masked = |image: &Tensor| reads_red(&(image.detach() + (image - image)?)?);
    let curves = curves();
    let evaluation = |target: &dyn Model, source: &dyn Model| -> Result<(Evaluation, Vec<ImageRecord>)> {
        let models = Models { target: whole(target), sources: vec![whole(source)] };
        let mut tally = Tally::new(5, &curves, 0).with_sources(["twin"]);
        tally.add(&models, &batch(&image, &label, &["a", "b"]), &mut |_| ControlFlow::Continue(()))?;
        Ok((tally.evaluation()?, tally.records()))
    };
    let (found, records) = evaluation(&masked, &reads_red)?;
    let sources: Vec<Option<&str>> = found.curves.iter().map(|curve| curve.source.as_deref()).collect();
    assert_eq!(sources, [None, None, Some("twin"), Some("twin")]);
    let last: Vec<f64> = (0..4).map(|curve| at_last(&found, curve)).collect();
    assert_eq!(last[..2], [1.0, 1.0]);
    assert!(last[2] < 0.5 && last[3] < 0.5, "{last:?}");
    assert!(found.worst_case[1].scores.miou <= last[2].min(last[3]));
    let warned: Vec<&Warning> =
        found.warnings.iter().filter(|warning| warning.kind == WarningKind::WeakerThanTransfer).collect();
    assert_eq!(warned.iter().map(|warning| warning.attack.as_str()).collect::<Vec<_>>(), ["fgsm", "bim"]);
    assert!(warned.iter().all(|warning| warning.epsilon == 0.3 && warning.message.contains("twin")));
    assert_eq!(found.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(), ["twin"]);
    // Each image has one line for its clean form and for each curve at two epsilons.
    assert_eq!(records.len(), 2 * (1 + 4 * 2));
    assert_eq!(records.iter().filter(|record| record.source.is_some()).count(), 8);

    // The other way round the examples of the source are clean images.
    let (found, _) = evaluation(&reads_red, &masked)?;
    assert_eq!((at_last(&found, 2), at_last(&found, 3)), (1.0, 1.0));
    assert!(found.warnings.iter().all(|warning| warning.kind != WarningKind::WeakerThanTransfer));
    Ok(())
}

/// The mean IoU of a curve at its last point.
fn at_last(evaluation: &Evaluation, curve: usize) -> f64 {
    evaluation.curves[curve].points.last().map_or(f64::NAN, |point| point.scores.miou)
}

#[test]
fn sources_add_curves_and_change_no_other_score() -> Result<()> {
    let (network, dataset, stop) = (fixture::network(1)?, fixture::dataset()?, AtomicBool::new(false));
    let semseg = Semseg { long_side: 36, crop: 21, attack: AttackedPart::Crops, ..Semseg::default() };
    for protocol in [Protocol::WholeImage, Protocol::Semseg(semseg)] {
        let bim = CurveConfig::new(Bim { alpha: 0.01, steps: 2 }, vec![0.0, 0.03]);
        let config =
            EvaluationConfig { curves: vec![bim], protocol, limit: Some(2), ..EvaluationConfig::default() };
        let alone = evaluate(&network, &dataset, &config, &stop, &mut |_| {})?.evaluation;
        // The network itself, and another one.
        let source = |name: &str, seed| -> Result<Source> {
            Ok(Source { name: name.into(), network: fixture::network(seed)? })
        };
        let sources = [source("itself", 1)?, source("other", 2)?];
        let mut last = Advance::default();
        let found = evaluate(
            Subject { network: &network, sources: &sources },
            &dataset,
            &config,
            &stop,
            &mut |advance| last = advance,
        )?;
        assert_eq!((last.passes, last.of_passes), (7 * last.images, 7 * last.of_images));
        let curves = &found.evaluation.curves;
        assert_eq!((&found.evaluation.clean, &curves[0]), (&alone.clean, &alone.curves[0]));
        let Curve { points, passes, source, .. } = &curves[1];
        assert_eq!((points, passes), (&alone.curves[0].points, &alone.curves[0].passes));
        assert_eq!((source.as_deref(), curves[2].source.as_deref()), (Some("itself"), Some("other")));
        assert_eq!(curves[2].points[0], alone.curves[0].points[0]);
        assert_ne!(curves[2].points[1], alone.curves[0].points[1]);
        let kinds: Vec<WarningKind> = found.evaluation.warnings.iter().map(|one| one.kind).collect();
        assert!(!kinds.contains(&WarningKind::WeakerThanTransfer), "{kinds:?}");
    }
    let sources = [Source { name: "wide".into(), network: fixture::network_of(1, 7)? }];
    let subject = Subject { network: &network, sources: &sources };
    let refused = evaluate(subject, &dataset, &EvaluationConfig::default(), &stop, &mut |_| {}).unwrap_err();
    assert_eq!(refused.to_string(), "source wide: expected 3 classes, got 7");
    Ok(())
}
