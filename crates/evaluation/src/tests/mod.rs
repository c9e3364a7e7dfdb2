//! Evaluations of models with known answers.

mod transfer;

use std::ops::ControlFlow;

use candle_core::{DType, Device, Tensor};
use rand::RngExt;

use robustseg_attacks::{Bim, CurveConfig, Fgsm, IGNORE_LABEL, Model, Pgd, Sea};
use robustseg_metrics::{ConfusionMatrix, Overlap};
use robustseg_random::stream;
use serde_json::json;

use crate::presented::Presented;
use crate::protocol::Protocol;
use crate::tally::{Models, Tally};
use crate::{
    Error, Evaluated, Evaluation, EvaluationBatch, ImageRecord, Result, Warning, WarningKind, evaluate_model,
};

/// Images whose red value encodes the class. Each class has a fifth of the range, and values keep
/// `margin` from its ends. A few pixels are unlabelled.
fn scene(margin: f32) -> Result<(Tensor, Tensor)> {
    let random = &mut stream(1, "scene", [0; 3]);
    let labels: Vec<u8> = (0..2 * 24 * 32).map(|_| random.random_range(0..5)).collect();
    let red: Vec<f32> = labels.iter().map(|&label| (f32::from(label) + margin) / 5.0).collect();
    let red = Tensor::from_vec(red, (2, 1, 24, 32), &Device::Cpu)?;
    let image = Tensor::cat(&[&red, &red.zeros_like()?, &red.zeros_like()?], 1)?;
    let labels =
        labels.into_iter().map(|label| if random.random::<f32>() < 0.1 { IGNORE_LABEL } else { label });
    Ok((image, Tensor::from_vec(labels.collect(), (2, 24, 32), &Device::Cpu)?))
}

/// Logits that are largest for the fifth that contains the red value.
fn reads_red(image: &Tensor) -> candle_core::Result<Tensor> {
    let red = image.narrow(1, 0, 1)?.permute((0, 2, 3, 1))?;
    let centres = Tensor::new(&[0.1_f32, 0.3, 0.5, 0.7, 0.9], image.device())?;
    red.broadcast_sub(&centres)?.sqr()?.affine(-100.0, 0.0)
}

fn whole(model: &dyn Model) -> Presented<'_> {
    Presented::new(model, &Protocol::WholeImage)
}

/// Observes a prepared batch of whole images.
fn add(tally: &mut Tally<'_>, model: &dyn Model, image: &Tensor, label: &Tensor, ids: &[&str]) -> Result<()> {
    let models = Models { target: whole(model), sources: Vec::new() };
    tally.add(&models, &batch(image, label, ids), &mut |_| ControlFlow::Continue(()))
}

fn batch(image: &Tensor, label: &Tensor, ids: &[&str]) -> EvaluationBatch {
    let ids = ids.iter().map(|&id| id.into()).collect();
    EvaluationBatch { ids, image: image.clone(), label: label.clone() }
}

fn curves() -> Vec<CurveConfig> {
    let epsilons = vec![0.0, 0.02, 0.3];
    let bim = CurveConfig::new(Bim { alpha: 0.05, steps: 3 }, epsilons.clone());
    vec![CurveConfig::new(Fgsm {}, epsilons), bim]
}

#[test]
fn a_perfect_model_scores_one_until_the_attack_reaches_the_next_class() -> Result<()> {
    let (image, label) = scene(0.3)?;
    let curves = curves();
    let mut tally = Tally::new(6, &curves, 0);
    add(&mut tally, &reads_red, &image, &label, &["a", "b"])?;
    add(&mut tally, &reads_red, &image, &label, &["c", "d"])?;
    let evaluation = tally.evaluation()?;
    assert_eq!((evaluation.clean.miou, evaluation.clean.pixel_accuracy), (1.0, 1.0));
    let perfect = [Some(1.0); 5].into_iter().chain([None]).collect::<Vec<_>>();
    assert_eq!(evaluation.clean.iou, perfect);
    for curve in &evaluation.curves {
        assert_eq!(curve.points[0].scores, evaluation.clean);
        assert_eq!(curve.points[1].scores, evaluation.clean, "0.02 stays inside a fifth");
        assert!(curve.points[2].scores.pixel_accuracy < 0.5, "{:?}", curve.points[2]);
    }
    Ok(())
}

#[test]
fn a_constant_model_scores_chance() -> Result<()> {
    let (image, label) = scene(0.5)?;
    let blind = |image: &Tensor| {
        let (n, _, h, w) = image.dims4()?;
        let random = &mut stream(2, "noise", [0; 3]);
        let logits: Vec<f32> = (0..n * h * w * 5).map(|_| random.random()).collect();
        Tensor::from_vec(logits, (n, h, w, 5), image.device())
    };
    let mut tally = Tally::new(5, &[], 0);
    add(&mut tally, &blind, &image, &label, &["a", "b"])?;
    let clean = tally.evaluation()?.clean;
    assert!((clean.pixel_accuracy - 0.2).abs() < 0.04, "{clean:?}");
    assert!((clean.miou - 1.0 / 9.0).abs() < 0.03, "{clean:?}");
    Ok(())
}

#[test]
fn nothing_labelled_is_an_error() -> Result<()> {
    let (image, label) = scene(0.5)?;
    let mut tally = Tally::new(5, &[], 0);
    let label = Tensor::full(IGNORE_LABEL, label.shape(), &Device::Cpu)?;
    add(&mut tally, &reads_red, &image, &label, &["a", "b"])?;
    assert!(tally.evaluation().unwrap_err().to_string().contains("at least one labelled pixel"));
    Ok(())
}

fn kinds(evaluation: &Evaluation, attack: &str, epsilon: f64) -> Vec<WarningKind> {
    let here = |warning: &&Warning| warning.attack == attack && warning.epsilon == epsilon;
    evaluation.warnings.iter().filter(here).map(|warning| warning.kind).collect()
}

/// Evaluates `image`. Without a label, all pixels are labelled 0.
fn evaluate(
    model: &dyn Model,
    image: &Tensor,
    label: Option<&Tensor>,
    curves: &[CurveConfig],
) -> Result<Evaluation> {
    let (n, _, h, w) = image.dims4()?;
    let zeros = Tensor::zeros((n, h, w), DType::U8, image.device())?;
    let mut tally = Tally::new(5, curves, 0);
    let ids: Vec<&str> = vec!["some"; n];
    add(&mut tally, model, image, label.unwrap_or(&zeros), &ids)?;
    tally.evaluation()
}

#[test]
fn masked_gradients_and_balls_left_unused_are_reported() -> Result<()> {
    let (image, label) = scene(0.3)?;
    let red = image.narrow(1, 0, 1)?;
    let grey = Tensor::full(0.5_f32, red.shape(), &Device::Cpu)?;
    let image = Tensor::cat(&[&red, &grey, &grey], 1)?;
    // Two of three channels have no gradient.
    let evaluation = evaluate(&reads_red, &image, Some(&label), &curves())?;
    assert!(kinds(&evaluation, "fgsm", 0.02).contains(&WarningKind::ZeroGradient));
    // 3 steps of 0.05 reach 0.15 of 0.3. The single step of FGSM reaches all of it.
    assert!(kinds(&evaluation, "bim", 0.3).contains(&WarningKind::BudgetUnused));
    assert!(!kinds(&evaluation, "bim", 0.02).contains(&WarningKind::BudgetUnused));
    assert!(!kinds(&evaluation, "fgsm", 0.3).contains(&WarningKind::BudgetUnused));
    // All channels matter, so there is nothing to warn about.
    let sees_all = |image: &Tensor| {
        let red = image.sum_keepdim(1)?.affine(1.0, -1.0)?;
        reads_red(&red.broadcast_as(image.shape())?)
    };
    let curve = CurveConfig::new(Fgsm {}, vec![0.0, 0.01]);
    assert_eq!(evaluate(&sees_all, &image, Some(&label), &[curve])?.warnings, []);
    Ok(())
}

/// `first` against zeros for the other four classes.
fn against_zeros(first: &Tensor) -> candle_core::Result<Tensor> {
    let zeros = first.zeros_like()?;
    Tensor::cat(&[first, &zeros, &zeros, &zeros, &zeros], 1)?.permute((0, 2, 3, 1))?.contiguous()
}

#[test]
fn attacks_that_miss_what_a_smaller_ball_holds_are_reported() -> Result<()> {
    // Right at 0.5, wrong at 0.6, right again at 0.7.
    let wave = |image: &Tensor| {
        let turn = std::f64::consts::TAU / 0.2;
        against_zeros(&image.narrow(1, 0, 1)?.affine(turn, 0.3 - 0.5 * turn)?.cos()?)
    };
    let image = Tensor::full(0.5_f32, (1, 3, 8, 8), &Device::Cpu)?;
    let epsilons = vec![0.1, 0.2];
    let bim = CurveConfig::new(Bim { alpha: 0.001, steps: 3 }, epsilons.clone());
    let curves = [CurveConfig::new(Fgsm {}, epsilons), bim];
    let evaluation = evaluate(&wave, &image, None, &curves)?;
    assert!(kinds(&evaluation, "fgsm", 0.2).contains(&WarningKind::WeakerThanSmallerEpsilon));
    assert!(!kinds(&evaluation, "fgsm", 0.1).contains(&WarningKind::WeakerThanSmallerEpsilon));
    assert!(kinds(&evaluation, "bim", 0.1).contains(&WarningKind::WeakerThanCheaperAttack));
    assert!(!kinds(&evaluation, "bim", 0.2).contains(&WarningKind::WeakerThanCheaperAttack));
    Ok(())
}

#[test]
fn a_loss_that_falls_is_reported() -> Result<()> {
    // The cross-entropy peaks close to the image, and a step of 0.1 overshoots to the other side.
    let hill = |image: &Tensor| {
        against_zeros(&image.narrow(1, 0, 1)?.affine(1.0, -0.51)?.sqr()?.affine(100.0, 0.0)?)
    };
    let image = Tensor::full(0.5_f32, (1, 3, 8, 8), &Device::Cpu)?;
    let curve = CurveConfig::new(Fgsm {}, vec![0.005, 0.1]);
    let evaluation = evaluate(&hill, &image, None, &[curve])?;
    assert!(!kinds(&evaluation, "fgsm", 0.005).contains(&WarningKind::LossDoesNotRise));
    assert!(kinds(&evaluation, "fgsm", 0.1).contains(&WarningKind::LossDoesNotRise));
    Ok(())
}

#[test]
fn starts_that_decide_are_reported() -> Result<()> {
    // The value of a corner decides for all pixels, in waves much narrower than the ball.
    let waves = |image: &Tensor| {
        let corner = image.narrow(2, 0, 1)?.narrow(3, 0, 1)?.sum_keepdim(1)?;
        against_zeros(&corner.affine(900.0, 0.0)?.sin()?.broadcast_as((image.dim(0)?, 1, 8, 8))?)
    };
    let image = Tensor::full(0.5_f32, (4, 3, 8, 8), &Device::Cpu)?;
    let run = |restarts| {
        let curve =
            CurveConfig::new(Pgd { alpha: 1e-5, steps: 1, restarts, ..Pgd::default() }, vec![0.0, 0.01]);
        evaluate(&waves, &image, None, &[curve])
    };
    assert!(!kinds(&run(1)?, "pgd", 0.01).contains(&WarningKind::RandomStartDecisive));
    let evaluation = run(8)?;
    assert!(kinds(&evaluation, "pgd", 0.01).contains(&WarningKind::RandomStartDecisive));
    let point = &evaluation.curves[0].points[1];
    assert_eq!((point.candidates.len(), point.scores.pixel_accuracy), (8, 0.0));
    assert!(point.candidates.iter().any(|one| one.pixel_accuracy > 0.0));
    Ok(())
}

/// Reads red, but only `share` of it reaches the gradient.
fn reads_red_with_a_cut(share: f64) -> impl Fn(&Tensor) -> candle_core::Result<Tensor> {
    move |image: &Tensor| reads_red(&((image * share)? + (image.detach() * (1.0 - share))?)?)
}

#[test]
fn a_gradient_that_lacks_a_part_is_reported_and_one_that_lacks_half_refused() -> Result<()> {
    let (image, label) = scene(0.3)?;
    let run = |share: f64, curves: &[CurveConfig]| {
        let (ids, image, label) = (vec!["a".into(), "b".into()], image.clone(), label.clone());
        let batches = [EvaluationBatch { ids, image, label }];
        evaluate_model(&reads_red_with_a_cut(share), 5, batches, curves, 0, 0)
    };
    let curves = [CurveConfig::new(Fgsm {}, vec![0.0, 0.01, 0.02])];
    let whole = run(1.0, &curves)?.evaluation;
    assert!(whole.warnings.iter().all(|warning| warning.kind != WarningKind::InexactGradient));
    let most = run(0.92, &curves)?.evaluation;
    let told = &most.warnings[0];
    assert_eq!((told.kind, told.epsilon), (WarningKind::InexactGradient, 0.02));
    assert!(told.message.contains("9 % along itself"), "{}", told.message);
    // The comparison does not add to the cost of an attack.
    assert_eq!(most.curves[0].passes, whole.curves[0].passes);
    assert_eq!(most.curves[0].passes.expect("counted").forward, 1.0);
    let refused = run(0.5, &curves).unwrap_err();
    assert!(matches!(refused, Error::Attack(robustseg_attacks::Error::WrongGradient { .. })), "{refused}");
    // Without attacks the gradient does not matter.
    assert!(run(0.5, &[]).is_ok());
    assert!(run(0.5, &[CurveConfig::new(Fgsm {}, vec![0.0])]).is_ok());
    Ok(())
}

#[test]
fn no_curve_leaves_its_ball() -> Result<()> {
    let (image, label) = scene(0.3)?;
    let epsilons = vec![0.02, 0.1];
    // Few steps, so large that the ball stops them, from a random start.
    let small = [
        ("alpha", json!(0.07)),
        ("steps", json!(10)),
        ("restarts", json!(2)),
        ("start", json!("random")),
        ("random_start", json!(true)),
    ];
    let curve = |known: CurveConfig| {
        let mut settings = json!({"epsilons": epsilons});
        for (name, value) in &small {
            if known.attack().settings().get(name).is_some() {
                settings[*name] = value.clone();
            }
        }
        let text = json!({known.name(): settings}).to_string();
        serde_json::from_str::<CurveConfig>(&text).expect(&text)
    };
    let curves: Vec<CurveConfig> = CurveConfig::all().into_iter().map(curve).collect();
    let mut tally = Tally::new(5, &curves, 0);
    add(&mut tally, &reads_red, &image, &label, &["a", "b"])?;
    for (curve, config) in curves.iter().enumerate() {
        for (point, &epsilon) in config.epsilons().iter().enumerate() {
            for observation in tally.observed(curve, point).into_iter().flatten() {
                let largest = f64::from(observation.largest);
                assert!(largest <= epsilon + 1e-6, "{}: {largest} of {epsilon}", config.name());
            }
        }
    }
    Ok(())
}

#[test]
fn accuracy_is_of_all_pixels_and_also_a_mean_over_images() -> Result<()> {
    // The first image has three labelled pixels, all right. The second has 300, a third of them
    // right.
    let reads = |image: &Tensor| reads_red(image);
    let red: Vec<f32> = (0..600).map(|pixel| if pixel < 400 { 0.1 } else { 0.3 }).collect();
    let red = Tensor::from_vec(red, (2, 1, 10, 30), &Device::Cpu)?;
    let image = Tensor::cat(&[&red, &red.zeros_like()?, &red.zeros_like()?], 1)?;
    let label = (0..600).map(|pixel| if (3..300).contains(&pixel) { IGNORE_LABEL } else { 0 });
    let label = Tensor::from_vec(label.collect::<Vec<u8>>(), (2, 10, 30), &Device::Cpu)?;
    let clean = evaluate(&reads, &image, Some(&label), &[])?.clean;
    assert!((clean.pixel_accuracy - 103.0 / 303.0).abs() < 1e-12, "{clean:?}");
    let mean = clean.metrics.get("image_averaged_pixel_accuracy").expect("two labelled images");
    assert!((mean - 2.0 / 3.0).abs() < 1e-12, "{clean:?}");
    Ok(())
}

#[test]
fn a_worst_case_is_over_candidates_and_curves_and_follows_from_the_records() -> Result<()> {
    let (image, label) = scene(0.3)?;
    let epsilons = vec![0.0, 0.1];
    let curves = [
        CurveConfig::new(Fgsm {}, epsilons.clone()),
        CurveConfig::new(Sea { steps: 10, ..Sea::default() }, epsilons),
    ];
    let mut tally = Tally::new(5, &curves, 1);
    // The last batch is smaller.
    add(&mut tally, &reads_red, &image, &label, &["a", "b"])?;
    add(&mut tally, &reads_red, &image.narrow(0, 0, 1)?, &label.narrow(0, 1, 1)?, &["c"])?;
    let evaluation = tally.evaluation()?;
    let point = &evaluation.curves[1].points[1];
    let names: Vec<&str> = point.candidates.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["masked_cross_entropy", "balanced_masked_cross_entropy", "jensen_shannon"]);
    for one in &point.candidates {
        assert!(point.scores.miou <= one.miou && point.scores.pixel_accuracy <= one.pixel_accuracy);
    }
    let [worst] = &evaluation.worst_case[..] else { panic!("{:?}", evaluation.worst_case) };
    for curve in &evaluation.curves {
        assert!(worst.scores.miou <= curve.points[1].scores.miou + 1e-12);
        assert!(worst.scores.pixel_accuracy <= curve.points[1].scores.pixel_accuracy);
    }
    let [low, high] = point.scores.miou_interval.expect("an interval");
    assert!(low <= point.scores.miou && point.scores.miou <= high);
    let passes = evaluation.curves[1].passes.expect("they were counted");
    assert_eq!((passes.forward, passes.backward), (39.0, 30.0));

    let records = tally.records();
    assert_eq!(records.len(), 3 * (1 + 1 + 3));
    let of = |id: &str| -> Vec<Overlap> {
        let sea = records.iter().filter(|line| line.id == id && line.attack.as_deref() == Some("sea"));
        let overlap =
            |line: &ImageRecord| ConfusionMatrix::from_pairs(5, &line.confusion).expect("classes").overlap();
        sea.map(overlap).collect()
    };
    let images = ["a", "b", "c"].map(of);
    let chosen = robustseg_metrics::greedy_mean_iou(&images);
    let sum = Overlap::sum(5, images.iter().zip(chosen).map(|(candidates, index)| &candidates[index]));
    assert_eq!(sum.mean_iou(), Some(point.scores.miou));
    let Evaluated { examples, example_attack, .. } = tally.evaluated()?;
    assert_eq!((examples.len(), example_attack.expect("SEA's").epsilon), (1, 0.1));
    let landscape = &examples[0].landscape;
    let at = |times: f64| landscape.iter().find(|(place, _)| *place == times).expect("a place").1;
    let loss = |attack: Option<&str>| {
        let lines =
            records.iter().filter(|line| line.id == examples[0].id && line.attack.as_deref() == attack);
        lines.map(|line| line.loss).collect::<Vec<_>>()
    };
    assert_eq!(vec![at(0.0)], loss(None));
    assert!(loss(Some("sea")).iter().any(|loss| (loss - at(1.0)).abs() < 1e-5), "{landscape:?}");
    Ok(())
}

#[test]
fn the_seed_decides_the_random_starts_of_any_model() -> Result<()> {
    let (image, label) = scene(0.3)?;
    let pgd = Pgd { alpha: 0.01, steps: 1, restarts: 1, ..Pgd::default() };
    let curves = [CurveConfig::new(pgd, vec![0.05])];
    let with = |seed| {
        let batches = [batch(&image, &label, &["a", "b"])];
        evaluate_model(&reads_red, 5, batches, &curves, 0, seed).map(|evaluated| evaluated.images)
    };
    assert_eq!(with(1)?, with(1)?);
    assert_ne!(with(1)?, with(2)?);
    Ok(())
}
