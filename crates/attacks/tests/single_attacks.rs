//! Single attacks on models whose gradients are known.

mod scene;

use std::cell::{Cell, RefCell};

use candle_core::{DType, Device, Tensor};
use robustseg_attacks::{
    Adversarial, Apgd, Attack, AttackConfig, Bim, Case, CosPgd, Cost, Counted, Dag, Error, FastNewton, Fgsm,
    IGNORE_LABEL, MiFgsm, Model, Padam, Pgd, PixelObjective, Result, Sea, SegFgsm, SegPgd, Start,
    TsallisApgd, TsallisPgd, input_gradient,
};
use robustseg_random::stream;
use scene::{SHAPE, Scene, attacks, values};

#[test]
fn attacks_start_where_the_setting_says() -> Result<()> {
    let scene = Scene::new(6, 3, 0.2, 0.8)?;
    let epsilon = 0.05;
    let first = |attack: &dyn Attack, seed| -> Result<Vec<f32>> {
        let seen = RefCell::new(None);
        let model = |image: &Tensor| {
            seen.borrow_mut().get_or_insert_with(|| image.detach());
            scene.logits(image)
        };
        attack.perturb(&scene.case(&model)?, epsilon, &mut stream(seed, "attack", [0; 3]))?;
        Ok(values(&seen.take().expect("the model saw it").to_dtype(DType::F32)?))
    };
    let image = values(&scene.image);
    let (alpha, steps) = (0.01, 2);
    let attacks = |start| -> [Box<dyn Attack>; 4] {
        [
            Box::new(SegPgd { alpha, steps, start, ..SegPgd::default() }),
            Box::new(CosPgd { alpha, steps, start, ..CosPgd::default() }),
            Box::new(TsallisPgd { alpha, steps, start, ..TsallisPgd::default() }),
            Box::new(Padam { alpha, steps, start, ..Padam::default() }),
        ]
    };
    for (at_image, random) in attacks(Start::Image).iter().zip(&attacks(Start::Random)) {
        assert_eq!(first(at_image.as_ref(), 1)?, image, "{}", at_image.name());
        let start = first(random.as_ref(), 1)?;
        let distances = || start.iter().zip(&image).map(|(start, image)| f64::from((start - image).abs()));
        assert!(distances().all(|distance| distance <= epsilon + 1e-6), "{}", random.name());
        let beyond = distances().filter(|distance| *distance > epsilon / 2.0).count();
        assert!((0.3..0.7).contains(&(beyond as f64 / image.len() as f64)), "{beyond} of {}", image.len());
        assert_ne!(first(random.as_ref(), 2)?, start, "the seed decides");
    }
    Ok(())
}

#[test]
fn segfgsm_moves_right_pixels_alone() -> Result<()> {
    // Four pixels of class 0, which the model recognises by its red: two are right.
    let model = |image: &Tensor| {
        let red = image.narrow(1, 0, 1)?.permute((0, 2, 3, 1))?.affine(10.0, -5.0)?;
        Tensor::cat(&[&red, &red.zeros_like()?], 3)?.contiguous()
    };
    let image = Tensor::new(&[[[[0.6_f32, 0.4, 0.7, 0.3]], [[0.2; 4]], [[0.2; 4]]]], &Device::Cpu)?;
    let label = Tensor::zeros((1, 1, 4), DType::U8, &Device::Cpu)?;
    let case = Case::new(&model, &image, &label)?;
    let found = SegFgsm {}.perturb(&case, 0.05, &mut stream(0, "unused", [0; 3]))?;
    let expected = [0.55, 0.4, 0.65, 0.3, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2];
    let found = values(&found.image);
    assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6), "{found:?}");
    Ok(())
}

#[test]
fn curves_share_gradients() -> Result<()> {
    let scene = Scene::new(5, 3, 0.2, 0.8)?;
    let calls = Cell::new(0);
    let model = |image: &Tensor| {
        calls.set(calls.get() + 1);
        scene.logits(image)
    };
    let epsilons = [0.0, 0.01, 0.02, 0.04];
    let case = scene.case(&model)?;
    let random = &mut stream(0, "unused", [0; 3]);
    for attack in [&Fgsm {} as &dyn Attack, &SegFgsm {}, &FastNewton::default()] {
        attack.examples(&case, &epsilons, random)?;
        assert_eq!(calls.take(), 1, "{}", attack.name());
    }
    // Steps of 0.004: the paths inside 0.01 and 0.02 leave the common path at steps 3 and 5 or 6
    // (rounding).
    Bim { alpha: 0.004, steps: 10 }.examples(&case, &epsilons, random)?;
    let shared = calls.take();
    assert!((10 + 7 + 4..=10 + 7 + 5).contains(&shared), "{shared} gradients");
    Ok(())
}

#[test]
fn momentum_without_memory_is_bim_and_with_it_overshoots() -> Result<()> {
    let scene = Scene::new(8, 3, 0.2, 0.8)?;
    let bim = scene.run(&AttackConfig::new(Bim { alpha: 0.02, steps: 4 }, 0.05), 1)?;
    let momentum = |decay| scene.run(&AttackConfig::new(MiFgsm { alpha: 0.02, steps: 4, decay }, 0.05), 1);
    assert_eq!(values(&momentum(0.0)?.image), values(&bim.image));
    // A slope that reverses between 0.52 and 0.53: the third step's gradient points back, but the
    // sum does not.
    let slope = |image: &Tensor| {
        let there = image.narrow(1, 0, 1)?.affine(1.0, -0.525)?.sqr()?.affine(-1e3, 0.0)?;
        Tensor::cat(&[&there.affine(-1.0, 0.0)?, &there], 1)?.permute((0, 2, 3, 1))?.contiguous()
    };
    let image = Tensor::full(0.5_f32, (1, 3, 1, 1), &Device::Cpu)?;
    let label = Tensor::zeros((1, 1, 1), DType::U8, &Device::Cpu)?;
    let case = Case::new(&slope, &image, &label)?;
    let last = |attack: &dyn Attack| -> Result<f32> {
        Ok(values(&attack.perturb(&case, 0.1, &mut stream(0, "unused", [0; 3]))?.image)[0])
    };
    let (alpha, steps) = (0.01, 4);
    assert!((last(&Bim { alpha, steps })? - 0.52).abs() < 1e-6);
    assert!(last(&MiFgsm { alpha, steps, decay: 1.0 })? > 0.535);
    Ok(())
}

#[test]
fn starts_are_spread_over_the_ball() -> Result<()> {
    // With a negligible step, a path ends where it started.
    let colours = |image: &Tensor| image.permute((0, 2, 3, 1))?.contiguous();
    let image = Tensor::full(0.5_f32, (1, 3, 40, 40), &Device::Cpu)?;
    let label = Tensor::zeros((1, 40, 40), DType::U8, &Device::Cpu)?;
    let pgd = AttackConfig::new(Pgd { alpha: 1e-6, steps: 1, restarts: 1, ..Pgd::default() }, 0.1);
    let case = Case::new(&colours, &image, &label)?;
    let start = pgd.perturb(&case, &mut stream(0, "start", [0; 3]))?.image;
    let changes: Vec<f32> = values(&start).into_iter().map(|value| value - 0.5).collect();
    let mean = changes.iter().sum::<f32>() / changes.len() as f32;
    let variance = changes.iter().map(|change| change * change).sum::<f32>() / changes.len() as f32;
    assert!(mean.abs() < 0.004 && (variance - 0.01 / 3.0).abs() < 2e-4, "{mean} {variance}");
    Ok(())
}

#[test]
fn restarts_never_lower_the_cross_entropy() -> Result<()> {
    let scene = Scene::new(9, 4, 0.0, 1.0)?;
    let run = |restarts| {
        scene.run(&AttackConfig::new(Pgd { alpha: 0.002, steps: 2, restarts, ..Pgd::default() }, 0.05), 3)
    };
    let entropy = |found: Adversarial| scene.value(&found.image, PixelObjective::CrossEntropy);
    let (one, many) = (entropy(run(1)?)?, entropy(run(6)?)?);
    assert!(one.iter().zip(&many).all(|(one, many)| many >= one), "{one:?} {many:?}");
    assert_ne!(one, many);
    Ok(())
}

#[test]
fn apgd_is_no_weaker_than_fgsm_and_sea_gets_most_pixels_wrong() -> Result<()> {
    // Labels that the model predicts correctly.
    let mut scene = Scene::new(10, 4, 0.2, 0.8)?;
    scene.label = scene.predict(&scene.image)?;
    let right = |image: &Tensor| -> Result<f32> {
        Ok(scene.predict(image)?.eq(&scene.label)?.to_dtype(DType::F32)?.sum_all()?.to_scalar()?)
    };
    let fgsm = scene.run(&AttackConfig::new(Fgsm {}, 0.05), 1)?.image;
    let apgd = scene
        .run(&AttackConfig::new(Apgd { steps: 20, random_start: true, ..Apgd::default() }, 0.05), 1)?
        .image;
    let before = scene.value(&fgsm, PixelObjective::CrossEntropy)?;
    let after = scene.value(&apgd, PixelObjective::CrossEntropy)?;
    // In most pixels' balls the gradient has the same sign everywhere, so APGD finds the same
    // corner.
    assert!(before.iter().zip(&after).all(|(before, after)| *after >= before - 1e-4), "{before:?} {after:?}");
    let sea = scene.run(&AttackConfig::new(Sea { steps: 30, ..Sea::default() }, 0.05), 1)?.image;
    assert!(right(&sea)? <= right(&apgd)?, "{} {}", right(&sea)?, right(&apgd)?);
    assert!(right(&sea)? < right(&scene.image)?);
    Ok(())
}

#[test]
fn dag_moves_pixels_that_are_right_until_few_are_left() -> Result<()> {
    // Class 0 where red exceeds 0.5, with a gain linear in it: every right pixel changes alike.
    let model = |image: &Tensor| {
        let red = image.narrow(1, 0, 1)?.permute((0, 2, 3, 1))?.affine(10.0, -5.0)?;
        Tensor::cat(&[&red, &red.zeros_like()?], 3)?.contiguous()
    };
    let image = Tensor::new(&[[[[0.6_f32, 0.55]], [[0.2, 0.2]], [[0.2, 0.2]]]], &Device::Cpu)?;
    let label = Tensor::zeros((1, 1, 2), DType::U8, &Device::Cpu)?;
    let (all, free) = (Dag { alpha: 0.03, steps: 9, wrong: 1.0 }, f64::INFINITY);
    let case = Case::new(&model, &image, &label)?;
    for (attack, limit, reds, epsilon) in [
        (all, free, [0.48, 0.49], 0.12),
        (Dag { wrong: 0.5, ..all }, free, [0.54, 0.49], 0.06),
        (Dag { steps: 1, ..all }, free, [0.57, 0.52], 0.03),
        (all, 0.045, [0.555, 0.505], 0.045),
    ] {
        let found = attack.perturb(&case, limit, &mut stream(0, "unused", [0; 3]))?;
        let pixels = values(&found.image);
        assert!(pixels.iter().zip(reds).all(|(found, red)| (found - red).abs() < 1e-6), "{pixels:?}");
        assert_eq!(pixels[2..], [0.2; 4]);
        assert!((values(&found.epsilon)[0] - epsilon).abs() < 1e-6, "{attack:?}");
    }
    Ok(())
}

#[test]
fn costs_are_counted() -> Result<()> {
    let scene = Scene::new(11, 3, 0.2, 0.8)?;
    let model = |image: &Tensor| scene.logits(image);
    let counted = Counted::new(&model);
    let cost = |attack: &AttackConfig| -> Result<Cost> {
        attack.perturb(&scene.case(&counted)?, &mut stream(0, "attack", [0; 3]))?;
        Ok(counted.take())
    };
    let of_two = |forward: u64, backward: u64| Cost { forward: 2 * forward, backward: 2 * backward };
    assert_eq!(cost(&AttackConfig::new(Fgsm {}, 0.05))?, of_two(1, 1));
    assert_eq!(cost(&AttackConfig::new(Bim { alpha: 0.01, steps: 4 }, 0.05))?, of_two(4, 4));
    assert_eq!(
        cost(&AttackConfig::new(Pgd { alpha: 0.01, steps: 4, restarts: 3, ..Pgd::default() }, 0.05))?,
        of_two(12 + 3, 12)
    );
    assert_eq!(
        cost(&AttackConfig::new(Apgd { steps: 20, random_start: true, ..Apgd::default() }, 0.05))?,
        of_two(21, 20)
    );
    let tsallis = TsallisApgd { steps: 20, random_start: true, ..TsallisApgd::default() };
    assert_eq!(cost(&AttackConfig::new(tsallis, 0.05))?, of_two(23, 20));
    assert_eq!(cost(&AttackConfig::new(Padam { steps: 4, ..Padam::default() }, 0.05))?, of_two(4, 4));
    // Three objectives in three balls, and one evaluation of each of the three examples.
    assert_eq!(cost(&AttackConfig::new(Sea { steps: 10, ..Sea::default() }, 0.05))?, of_two(3 * 13 + 3, 30));
    Ok(())
}

/// A model that takes f64 images and distinguishes bright from dark. It records the first pixels it
/// receives.
struct Watch(RefCell<Vec<f64>>);

impl Model for Watch {
    fn logits(&self, image: &Tensor) -> candle_core::Result<Tensor> {
        self.0.borrow_mut().push(image.flatten_all()?.get(0)?.to_scalar()?);
        let bright = image.sum_keepdim(1)?.permute((0, 2, 3, 1))?.to_dtype(DType::F32)?;
        Tensor::cat(&[&bright, &bright.affine(-1.0, 3.0)?], 3)?.contiguous()
    }

    fn image_dtype(&self) -> DType {
        DType::F64
    }
}

#[test]
fn images_are_not_rounded_between_steps() -> Result<()> {
    let image = Tensor::full(0.7_f32, SHAPE, &Device::Cpu)?;
    let label = Tensor::zeros((SHAPE.0, SHAPE.2, SHAPE.3), DType::U8, &Device::Cpu)?;
    let watch = Watch(RefCell::default());
    let bim = AttackConfig::new(Bim { alpha: 0.01, steps: 4 }, 0.025);
    let case = Case::new(&watch, &image, &label)?;
    let adversarial = bim.perturb(&case, &mut stream(0, "unused", [0; 3]))?.image;
    // The label says bright, so pixels get darker until they reach the ball's surface.
    let start = f64::from(0.7_f32);
    for (seen, step) in watch.0.borrow().iter().zip([0.0, 0.01, 0.02, 0.025]) {
        assert!((seen - (start - step)).abs() < 1e-15, "{seen} after {step}");
    }
    assert_eq!(values(&adversarial)[0], (start - 0.025) as f32);
    Ok(())
}

#[test]
fn an_image_without_labels_stays_unchanged() -> Result<()> {
    let mut scene = Scene::new(6, 3, 0.0, 1.0)?;
    scene.label = Tensor::full(IGNORE_LABEL, scene.label.shape(), &Device::Cpu)?;
    for attack in attacks(0.05, 0.02, 3) {
        let adversarial = scene.run(&attack, 1)?;
        assert_eq!(values(&adversarial.image), values(&scene.image), "{}", attack.name());
        if attack.name() == "fast_newton" {
            assert_eq!(values(&adversarial.epsilon), [0.0, 0.0]);
        }
    }
    Ok(())
}

#[test]
fn input_gradients_of_the_gain_by_hand() -> Result<()> {
    // Logits (r, 2g): label 0 has gain r - 2g, so the gradient is (1, -2, 0) over the number of
    // labelled pixels.
    let model = |image: &Tensor| {
        let scale = Tensor::new(&[[1.0_f32, 0.0], [0.0, 2.0], [0.0, 0.0]], &Device::Cpu)?;
        let (n, _, h, w) = image.dims4()?;
        image.permute((0, 2, 3, 1))?.reshape((n * h * w, 3))?.matmul(&scale)?.reshape((n, h, w, 2))
    };
    let image = Tensor::new(&[[[[0.5_f32, 0.25]], [[0.125, 0.5]], [[0.0, 1.0]]]], &Device::Cpu)?;
    let both =
        input_gradient(&model, &image, &Tensor::new(&[[[0_u8, 1]]], &Device::Cpu)?, PixelObjective::Gain)?;
    assert_eq!(values(&both.value), [f32::midpoint(0.25, 0.75)]);
    assert_eq!(values(&both.gradient), [0.5, -0.5, -1.0, 1.0, 0.0, 0.0]);
    let label = Tensor::new(&[[[0_u8, IGNORE_LABEL]]], &Device::Cpu)?;
    let one = input_gradient(&model, &image, &label, PixelObjective::Gain)?;
    assert_eq!(values(&one.value), [0.25]);
    assert_eq!(values(&one.gradient), [1.0, 0.0, -2.0, 0.0, 0.0, 0.0]);
    Ok(())
}

#[test]
fn broken_models_and_settings_are_refused() -> Result<()> {
    let scene = Scene::new(7, 3, 0.0, 1.0)?;
    let run = |model: &dyn Model, attack: &AttackConfig| {
        attack.perturb(&scene.case(model).unwrap(), &mut stream(0, "attack", [0; 3])).unwrap_err()
    };
    let newton = AttackConfig::new(FastNewton::default(), f64::INFINITY);
    let constant = |image: &Tensor| scene.logits(&image.detach());
    assert!(matches!(run(&constant, &AttackConfig::new(Fgsm {}, 0.03)), Error::NoGradient));
    let diverged = |image: &Tensor| scene.logits(image)? * f64::NAN;
    assert!(matches!(run(&diverged, &newton), Error::NotFinite { index: 0, .. }));
    let model = |image: &Tensor| scene.logits(image);
    for attack in [&AttackConfig::new(Fgsm {}, 8.0), &AttackConfig::new(Bim { alpha: 2.0, steps: 3 }, 0.1)] {
        assert!(matches!(run(&model, attack), Error::Setting { .. }));
    }
    Ok(())
}

#[test]
fn sea_balances_classes_over_the_dataset_and_climbs_the_cross_entropy_if_asked() -> Result<()> {
    let scene = Scene::new(12, 3, 0.2, 0.8)?;
    let model = |image: &Tensor| scene.logits(image);
    let case = scene.case(&model)?;
    let run = |sea: Sea, case: &Case<'_>| -> Result<Vec<Vec<f32>>> {
        let random = &mut stream(0, "unused", [0; 3]);
        let found = sea.examples(case, &[0.05], random)?.swap_remove(0);
        Ok(found.iter().map(|example| values(&example.image)).collect())
    };
    let plain = Sea { steps: 10, random_start: false, ..Sea::default() };
    let (of_set, more) = (Sea { dataset_weights: true, ..plain }, Sea { cross_entropy: true, ..plain });
    let expected = run(plain, &case)?;
    // With as many pixels of each class, all weigh alike, as in the first candidate.
    let equal = run(of_set, &case.with_class_pixels(&[9; 3]))?;
    assert_eq!(equal, [&expected[0], &expected[0], &expected[2]].map(Clone::clone));
    assert_ne!(run(of_set, &case.with_class_pixels(&[1, 0, 0]))?[1], expected[0]);
    // Without the setting, the dataset's pixels change nothing.
    assert_eq!(run(plain, &case.with_class_pixels(&[1, 0, 0]))?, expected);
    let refusal = run(of_set, &case).unwrap_err();
    assert!(matches!(&refusal, Error::Attack { name, .. } if name == "sea"), "{refusal}");
    assert!(of_set.needs_class_pixels() && !plain.needs_class_pixels());

    let four = run(more, &case)?;
    assert_eq!((four.len(), &four[..3]), (4, &expected[..]));
    assert_eq!(more.candidates().names()[3], "cross_entropy");
    assert_eq!(more.backward_passes(2), 80);
    Ok(())
}

#[test]
fn sea_takes_the_example_with_the_fewest_right_pixels() -> Result<()> {
    let sea = AttackConfig::new(Sea { steps: 1, ..Sea::default() }, 0.15);
    let mut different = 0;
    for seed in 0..20 {
        let mut scene = Scene::new(seed, 6, 0.2, 0.8)?;
        // All pixels are right before the attack, and each objective has its own start.
        scene.label = scene.logits(&scene.image)?.argmax(3)?.to_dtype(DType::U8)?;
        let right = |image: &Tensor| -> Result<Vec<f32>> {
            let predicted = scene.logits(image)?.argmax(3)?.to_dtype(DType::U8)?;
            Ok(predicted.eq(&scene.label)?.to_dtype(DType::F32)?.flatten_from(1)?.sum(1)?.to_vec1()?)
        };
        let model = |image: &Tensor| scene.logits(image);
        let random = &mut stream(seed, "attack", [0; 3]);
        let candidates =
            sea.attack().examples(&scene.case(&model)?, &[sea.epsilon()], random)?.swap_remove(0);
        let counts = candidates.iter().map(|example| right(&example.image)).collect::<Result<Vec<_>>>()?;
        for (image, found) in right(&scene.run(&sea, seed)?.image)?.into_iter().enumerate() {
            let counts = counts.iter().map(|counts| counts[image]);
            assert_eq!(found, counts.clone().fold(f32::MAX, f32::min));
            different += usize::from(counts.fold(0.0, f32::max) > found);
        }
    }
    assert!(different > 0, "the candidates never differ");
    Ok(())
}
