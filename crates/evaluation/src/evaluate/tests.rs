//! Evaluations of networks on a dataset.

use super::*;
use crate::{AttackedPart, Evaluation, MultiScale, Sea, Semseg, Window, fixture};
use candle_core::Tensor;
use robustseg_attacks::{Bim, Fgsm, Pgd};
use robustseg_models::Mode;

fn config() -> EvaluationConfig {
    EvaluationConfig { limit: Some(3), examples: 2, ..EvaluationConfig::default() }
}

fn run(network: &Network, config: &EvaluationConfig) -> Result<Evaluated> {
    evaluate(network, &fixture::dataset()?, config, &AtomicBool::new(false), &mut |_| {})
}

#[test]
fn the_record_has_the_documented_keys_in_their_order() -> Result<()> {
    let network = fixture::network(1)?;
    let Evaluated { evaluation, examples, example_attack, .. } = run(&network, &config())?;
    let json = serde_json::to_value(&evaluation).expect("plain data");
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    assert!(keys(&json).starts_with(&["clean".into(), "curves".into()]));
    assert_eq!(keys(&json["clean"])[..3], ["miou", "pixel_accuracy", "iou"]);
    let bim = &json["curves"][1];
    assert_eq!(keys(bim)[..3], ["attack", "parameters", "points"]);
    assert_eq!(bim["parameters"], serde_json::json!({"alpha": 0.004, "steps": 10}));
    assert_eq!(json["curves"][0]["parameters"], serde_json::json!({}));
    assert_eq!(keys(&bim["points"][8])[..4], ["epsilon", "miou", "pixel_accuracy", "iou"]);
    assert_eq!(bim["points"][8]["epsilon"], 0.04);
    for curve in &evaluation.curves {
        assert_eq!(curve.points[0].scores, evaluation.clean, "epsilon 0 is clean");
    }
    let read: Evaluation = serde_json::from_value(json).expect("as written");
    assert_eq!(read, evaluation);

    assert_eq!(examples.len(), 2);
    assert!(examples[0].pixel_accuracy <= examples[1].pixel_accuracy, "the worst first");
    let attack = example_attack.expect("BIM's");
    assert_eq!((attack.attack.as_str(), attack.epsilon), ("bim", 0.04));
    for example in &examples {
        let pixels = example.width * example.height;
        assert_eq!((example.image.len(), example.prediction.len()), (3 * pixels, pixels));
        let change = example.image.iter().zip(&example.adversarial).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(change.is_some_and(|change| (1..=11).contains(&change)), "{change:?} of 255 at epsilon 0.04");
    }
    Ok(())
}

#[test]
fn batches_and_a_window_over_everything_change_nothing() -> Result<()> {
    let network = &fixture::network(1)?;
    let batch = fixture::batch(1, 4);
    let images = Tensor::from_slice(&batch.images, (4, 3, batch.height, batch.width), network.device())?;
    for step in 0..20 {
        // Realistic running statistics.
        let random = &mut robustseg_random::stream(step, "unused", [0; 3]);
        network.forward(&images, &mut Mode::Training { dropout: 0.0, random })?;
    }
    let one_by_one = run(network, &config())?;
    let batched = run(network, &EvaluationConfig { batch_size: 2, ..config() })?;
    assert_eq!(batched.evaluation.clean, one_by_one.evaluation.clean);
    // Products over a batch round differently, which may flip the sign of a gradient close to
    // zero.
    for (curve, expected) in batched.evaluation.curves.iter().zip(&one_by_one.evaluation.curves) {
        for (point, expected) in curve.points.iter().zip(&expected.points) {
            let distance = (point.scores.pixel_accuracy - expected.scores.pixel_accuracy).abs();
            assert!(distance < 0.01, "{point:?} and {expected:?}");
        }
    }
    let window = Window::Sliding { size: 4096, stride: 4096 };
    let sliding = run(network, &EvaluationConfig { window, ..config() })?;
    assert_eq!(sliding.evaluation.clean, one_by_one.evaluation.clean);
    assert_eq!(
        sliding.evaluation.scope.to_string(),
        "3 of 6 images of split train, in windows of 4096x4096 every 4096 pixels"
    );
    let cropped = run(network, &EvaluationConfig { window: Window::CenterCrop { size: 9 }, ..config() })?;
    assert_eq!((cropped.examples[0].width, cropped.examples[0].height), (9, 9));
    let scope = cropped.evaluation.scope;
    assert_eq!(scope.to_string(), "3 of 6 images of split train, centre 9x9 of each");
    assert_eq!(one_by_one.evaluation.scope.to_string(), "3 of 6 images of split train");
    Ok(())
}

#[test]
fn every_protocol_evaluates_a_network_and_is_named() -> Result<()> {
    let network = fixture::network(1)?;
    let semseg = Semseg { long_side: 36, crop: 21, ..Semseg::default() };
    let crops = Semseg { attack: AttackedPart::Crops, flip: true, ..semseg.clone() };
    let whole = run(&network, &config())?.evaluation;
    assert_eq!(whole.scope.protocol, Some(Protocol::WholeImage));
    for protocol in [
        Protocol::Semseg(semseg),
        Protocol::Semseg(crops),
        Protocol::Sea(Sea { size: 24, void_class: Some(1) }),
        Protocol::MultiScale(MultiScale { scales: vec![0.5, 1.0], flip: true }),
    ] {
        let curves = vec![CurveConfig::new(Bim { alpha: 0.01, steps: 2 }, vec![0.0, 0.03])];
        let config = EvaluationConfig { curves, protocol: protocol.clone(), ..config() };
        let Evaluated { evaluation, images, examples, .. } = run(&network, &config)?;
        assert_eq!(evaluation.curves[0].points[0].scores, evaluation.clean, "{protocol}");
        for pair in images.chunks(2) {
            assert!(pair[1].loss > pair[0].loss, "{protocol}: {} after {}", pair[1].loss, pair[0].loss);
        }
        assert_eq!(evaluation.curves[0].passes.expect("counted").backward, 2.0, "{protocol}");
        assert!(evaluation.scope.to_string().ends_with(&format!("protocol {protocol}")));
        assert_eq!(examples.len(), 2);
        let window = Window::CenterCrop { size: 9 };
        let refused = run(&network, &EvaluationConfig { window, ..config.clone() }).unwrap_err();
        assert!(matches!(refused, Error::Setting { field: "window", .. }), "{refused}");
    }
    let protocol = Protocol::Sea(Sea { void_class: Some(3), ..Sea::default() });
    let refused = run(&network, &EvaluationConfig { protocol, ..config() }).unwrap_err();
    assert!(refused.to_string().contains("the model has 3 classes"), "{refused}");
    Ok(())
}

#[test]
fn the_seed_decides_random_starts_and_nothing_else() -> Result<()> {
    let network = fixture::network(1)?;
    let pgd = CurveConfig::new(Pgd { alpha: 0.01, steps: 2, restarts: 1, ..Pgd::default() }, vec![0.0, 0.03]);
    let curves = vec![pgd, CurveConfig::new(Fgsm {}, vec![0.03])];
    let with = |seed| {
        run(&network, &EvaluationConfig { seed, curves: curves.clone(), ..config() })
            .map(|evaluated| evaluated.evaluation)
    };
    let (a, again, b) = (with(1)?, with(1)?, with(2)?);
    assert_eq!(a, again);
    assert_ne!(a.curves[0].points[1], b.curves[0].points[1]);
    assert_eq!((&a.clean, &a.curves[1]), (&b.clean, &b.curves[1]));
    Ok(())
}

#[test]
fn segpgd_and_cospgd_start_at_random_unless_the_spec_says_otherwise() -> Result<()> {
    let network = fixture::network(1)?;
    let read = |name: &str, more: &str| {
        let text = format!(r#"{{"{name}": {{"alpha": 0.01, "steps": 2, "epsilons": [0, 0.03]{more}}}}}"#);
        serde_json::from_str::<CurveConfig>(&text).expect("a curve")
    };
    for name in ["segpgd", "cospgd"] {
        let [random, at_image] = [read(name, ""), read(name, r#", "start": "image""#)];
        let curves = |seed, curve: &CurveConfig| {
            run(&network, &EvaluationConfig { seed, curves: vec![curve.clone()], ..config() })
                .map(|evaluated| evaluated.evaluation.curves)
        };
        assert_eq!(curves(1, &at_image)?, curves(2, &at_image)?, "{name}");
        let [one, other] = [curves(1, &random)?, curves(2, &random)?];
        assert_ne!(one[0].points[1], other[0].points[1], "{name}");
        let start =
            |curves: &[crate::Curve]| serde_json::to_value(&curves[0].parameters).expect("plain data");
        assert_eq!(start(&one)["start"], "random");
        assert_eq!(start(&curves(1, &at_image)?)["start"], "image");
    }
    Ok(())
}

#[test]
fn attacks_get_the_class_pixels_of_the_images_evaluated() -> Result<()> {
    let (network, dataset) = (fixture::network(1)?, fixture::dataset()?);
    let target = Target::new(&network, NormStatistics::Running);
    let counts = |indices: &[usize], window| {
        let protocol = crate::Protocol::default();
        let presented = Presented::new(&target, &protocol).with_window(window);
        let samples = dataset.samples(indices.iter().copied());
        class_pixels(samples, &network, &presented, &AtomicBool::new(false))
    };
    let (one, both) = (counts(&[2], Window::Whole)?, counts(&[2, 4], Window::Whole)?);
    let label = dataset.load(2)?.label.data;
    let of_class = |class| label.iter().filter(|label| usize::from(**label) == class).count() as u64;
    let by_hand = [0, 1, 2].map(of_class);
    assert_eq!(one, by_hand);
    assert!(both.iter().zip(&one).all(|(both, one)| both >= one) && both != one);
    let cropped: u64 = counts(&[2], Window::CenterCrop { size: 9 })?.iter().sum();
    assert!((1..=81).contains(&cropped), "{cropped}");

    let sea = robustseg_attacks::Sea { steps: 4, dataset_weights: true, ..Default::default() };
    let curves = vec![CurveConfig::new(sea, vec![0.03])];
    assert_eq!(run(&network, &EvaluationConfig { curves, ..config() })?.evaluation.curves.len(), 1);
    Ok(())
}

#[test]
fn progress_tells_every_pass_and_every_image() -> Result<()> {
    let (network, dataset) = (fixture::network(1)?, fixture::dataset()?);
    let mut told = Vec::new();
    for batch_size in [1, 3] {
        let curves = vec![CurveConfig::new(Bim { alpha: 0.01, steps: 2 }, vec![0.0, 0.02])];
        let config = EvaluationConfig { curves, batch_size, limit: None, ..config() };
        let (images, per_image) = (dataset.len() as u64, config.passes_per_image());
        assert_eq!(per_image, 3);
        let mut progress = |advance| told.push(advance);
        evaluate(&network, &dataset, &config, &AtomicBool::new(false), &mut progress)?;
        assert!(told.iter().all(|one| (one.of_images, one.of_passes) == (images, 3 * images)));
        assert!(told.is_sorted_by_key(|one| (one.passes, one.images)));
        let last = told.pop().expect("the end");
        assert_eq!((last.images, last.passes), (images, 3 * images));
        // Each image has its two backward passes. Those of the first batch precede its end.
        assert_eq!(told[0], Advance { images: 0, passes: batch_size as u64, ..last });
        assert_eq!(told[1].passes, 2 * batch_size as u64);
        told.clear();
    }
    Ok(())
}

#[test]
fn a_stop_and_bad_settings_end_it() -> Result<()> {
    let network = fixture::network(1)?;
    let stopped = evaluate(&network, &fixture::dataset()?, &config(), &AtomicBool::new(true), &mut |_| {});
    assert!(matches!(stopped, Err(Error::Interrupted)));
    // Within a batch too, before the next backward pass.
    let (stop, mut told) = (AtomicBool::new(false), 0);
    let mut third = |_| {
        told += 1;
        stop.store(told == 3, Ordering::Relaxed);
    };
    let stopped = evaluate(&network, &fixture::dataset()?, &config(), &stop, &mut third);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert_eq!(told, 3);
    let curve = CurveConfig::new(Fgsm {}, vec![0.0, 8.0]);
    let error = run(&network, &EvaluationConfig { curves: vec![curve], ..config() }).unwrap_err();
    assert!(error.to_string().contains("did you mean 8/255"));
    assert!(run(&network, &EvaluationConfig { batch_size: 0, ..config() }).is_err());
    assert_eq!(evenly_spaced(10, Some(4)), [0, 2, 5, 7]);
    assert_eq!(evenly_spaced(3, Some(4)), [0, 1, 2]);
    Ok(())
}
