//! Properties of the attacks on models whose gradients are known: a linear map of each pixel.

use std::cell::{Cell, RefCell};

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use rand::RngExt;
use robustseg_attacks::{
    Adversarial, Alignment, Apgd, Attack, AttackConfig, Bim, Budget, CosPgd, Counted, Dag, Error, FastNewton,
    Fgsm, IGNORE_LABEL, MiFgsm, Model, NegativeGain, Overrides, Pgd, PixelObjective, RandomFgsm, Result, Sea,
    SegPgd, Start, bim_curve, cospgd_curve, fgsm_curve, input_gradient, mi_fgsm_curve, pgd_curve,
    segpgd_curve,
};
use robustseg_random::stream;

/// Two images of 4 x 5 pixels, their labels (some pixels without one), and a linear model on them.
struct Scene {
    image: Tensor,
    label: Tensor,
    matrix: Tensor,
    classes: usize,
}

const SHAPE: (usize, usize, usize, usize) = (2, 3, 4, 5);

impl Scene {
    /// Pixels in `[low, high]`, labels of `classes` classes, each pixel unlabelled with probability 1/4.
    fn new(seed: u64, classes: usize, low: f32, high: f32) -> Result<Self> {
        let random = &mut stream(seed, "scene", [0; 3]);
        let (n, _, h, w) = SHAPE;
        let pixels = (0..n * 3 * h * w).map(|_| low + (high - low) * random.random::<f32>()).collect();
        let weights: Vec<f32> = (0..3 * classes).map(|_| random.random::<f32>() * 2.0 - 1.0).collect();
        let labels = (0..n * h * w)
            .map(|_| {
                if random.random::<f32>() < 0.25 {
                    IGNORE_LABEL
                } else {
                    random.random_range(0..classes) as u8
                }
            })
            .collect();
        Ok(Self {
            image: Tensor::from_vec(pixels, SHAPE, &Device::Cpu)?,
            label: Tensor::from_vec(labels, (n, h, w), &Device::Cpu)?,
            matrix: Tensor::from_vec(weights, (3, classes), &Device::Cpu)?,
            classes,
        })
    }

    fn logits(&self, image: &Tensor) -> candle_core::Result<Tensor> {
        let (n, _, h, w) = image.dims4()?;
        let pixels = image.permute((0, 2, 3, 1))?.reshape((n * h * w, 3))?;
        pixels.matmul(&self.matrix)?.reshape((n, h, w, self.classes))
    }

    fn predict(&self, image: &Tensor) -> candle_core::Result<Tensor> {
        robustseg_ops::predict(&self.logits(image)?, SHAPE.2, SHAPE.3, Alignment::HalfPixel)
    }

    fn run(&self, attack: &dyn Attack, seed: u64) -> Result<Adversarial> {
        let model = |image: &Tensor| self.logits(image);
        attack.perturb(&model, &self.image, &self.label, &mut stream(seed, "attack", [0; 3]))
    }

    /// Largest change of each image.
    fn change(&self, adversarial: &Tensor) -> Result<Vec<f32>> {
        Ok((adversarial - &self.image)?.abs()?.flatten_from(1)?.max(1)?.to_vec1()?)
    }

    fn value(&self, image: &Tensor, objective: PixelObjective) -> Result<Vec<f32>> {
        let model = |image: &Tensor| self.logits(image);
        Ok(input_gradient(&model, image, &self.label, objective)?.value.to_vec1()?)
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).unwrap()
}

fn attacks(epsilon: f64, alpha: f64, steps: usize) -> Vec<Box<dyn Attack>> {
    AttackConfig::all()
        .into_iter()
        .map(|config| {
            let name = config.name();
            let one_step = matches!(name, "fgsm" | "random_fgsm" | "fast_newton");
            let overrides = Overrides {
                epsilon: (name != "fast_newton").then_some(epsilon),
                alpha: (!one_step && !matches!(name, "apgd" | "sea")).then_some(alpha),
                steps: (!one_step).then_some(steps),
                restarts: (name == "pgd").then_some(2),
                start: None,
            };
            AttackConfig::by_name(name, overrides).unwrap().attack()
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn results_are_images_inside_the_ball(
        seed: u64, classes in 2_usize..5, epsilon in 0.0..0.2_f64, alpha in 0.001..0.1_f64, steps in 1_usize..5,
    ) {
        let scene = Scene::new(seed, classes, 0.0, 1.0).unwrap();
        for attack in attacks(epsilon, alpha, steps) {
            let adversarial = scene.run(attack.as_ref(), seed).unwrap();
            prop_assert!(values(&adversarial.image).iter().all(|v| (0.0..=1.0).contains(v)), "{}", attack.name());
            let radii = values(&adversarial.epsilon);
            for (change, radius) in scene.change(&adversarial.image).unwrap().iter().zip(&radii) {
                prop_assert!(*change <= radius.abs() + 1e-6, "{}: {change} beyond {radius}", attack.name());
                prop_assert!(attack.name() == "fast_newton" || *radius <= epsilon as f32);
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_result(seed: u64) {
        let scene = Scene::new(seed, 3, 0.0, 1.0).unwrap();
        for attack in attacks(0.05, 0.02, 3) {
            let (first, second) = (scene.run(attack.as_ref(), 1).unwrap(), scene.run(attack.as_ref(), 1).unwrap());
            prop_assert_eq!(values(&first.image), values(&second.image));
            prop_assert_eq!(values(&first.epsilon), values(&second.epsilon));
        }
        let random = RandomFgsm { epsilon: 0.05 };
        let [one, other] = [1, 2].map(|seed| values(&scene.run(&random, seed).unwrap().epsilon));
        prop_assert_ne!(&one, &other);
        prop_assert_ne!(one[0], one[1]); // one draw an image
    }

    #[test]
    fn logits_at_unlabelled_pixels_do_not_matter(seed: u64, shift in -9.0..9.0_f64) {
        let scene = Scene::new(seed, 3, 0.0, 1.0).unwrap();
        let ignored = scene.label.eq(IGNORE_LABEL).unwrap();
        let offset = (ignored.to_dtype(DType::F32).unwrap() * shift).unwrap().unsqueeze(3).unwrap();
        let offset = Tensor::cat(&[&offset, &(&offset * -2.0).unwrap(), &offset.zeros_like().unwrap()], 3).unwrap();
        let other = |image: &Tensor| scene.logits(image)? + &offset;
        for attack in attacks(0.05, 0.02, 3) {
            let expected = scene.run(attack.as_ref(), 1).unwrap();
            let random = &mut stream(1, "attack", [0; 3]);
            let found = attack.perturb(&other, &scene.image, &scene.label, random).unwrap();
            prop_assert_eq!(values(&found.image), values(&expected.image), "{}", attack.name());
            // The model looks at one pixel at a time, so unlabelled pixels have no reason to change but a random start.
            if ["pgd", "apgd", "sea"].contains(&attack.name()) {
                continue;
            }
            let moved = (expected.image.ne(&scene.image).unwrap().max(1).unwrap() * &ignored).unwrap();
            prop_assert_eq!(moved.max_all().unwrap().to_scalar::<u8>().unwrap(), 0, "{}", attack.name());
        }
    }

    #[test]
    fn dag_ends_when_enough_is_wrong(seed: u64, wrong in 0.1..1.0_f64) {
        let scene = Scene::new(seed, 3, 0.0, 1.0).unwrap();
        let dag = Dag { alpha: 0.02, steps: 200, wrong, max_epsilon: None };
        let found = scene.run(&dag, 1).unwrap();
        let right = scene.predict(&found.image).unwrap().eq(&scene.label).unwrap();
        let count = |mask: &Tensor| values(&mask.to_dtype(DType::F32).unwrap().flatten_from(1).unwrap().sum(1).unwrap());
        let labelled = count(&scene.label.ne(IGNORE_LABEL).unwrap());
        for (index, (right, labelled)) in count(&right).into_iter().zip(labelled).enumerate() {
            let share = f64::from((labelled - right) / labelled);
            let moved = values(&found.epsilon)[index];
            // In [0, 1] a linear model may have pixels that nothing gets wrong.
            prop_assert!(share >= wrong || moved > 0.2, "{share} of {wrong}, {moved}");
        }
    }

    #[test]
    fn images_of_a_batch_are_attacked_apart(seed: u64) {
        let scene = Scene::new(seed, 3, 0.0, 1.0).unwrap();
        let random = ["random_fgsm", "pgd", "apgd", "sea"];
        let fixed = [
            Box::new(Apgd { epsilon: 0.05, steps: 7, random_start: false }) as Box<dyn Attack>,
            Box::new(Sea { epsilon: 0.05, steps: 10, random_start: false }),
        ];
        let attacks = attacks(0.05, 0.02, 3).into_iter().filter(|attack| !random.contains(&attack.name()));
        for attack in attacks.chain(fixed) {
            let both = scene.run(attack.as_ref(), 1).unwrap();
            for index in 0..2 {
                let model = |image: &Tensor| scene.logits(image);
                let (image, label) = (scene.image.narrow(0, index, 1).unwrap(), scene.label.narrow(0, index, 1).unwrap());
                let alone = attack.perturb(&model, &image, &label, &mut stream(1, "attack", [0; 3])).unwrap();
                prop_assert_eq!(values(&alone.image), values(&both.image.narrow(0, index, 1).unwrap()));
            }
        }
    }

    #[test]
    fn fast_newton_finds_the_zero_of_a_linear_gain(seed: u64) {
        // With two classes the mean gain is linear; from the middle of [0, 1] nothing is clipped if epsilon < 0.3.
        let scene = Scene::new(seed, 2, 0.3, 0.7).unwrap();
        let before = scene.value(&scene.image, PixelObjective::Gain).unwrap();
        let adversarial = scene.run(&FastNewton::default(), 1).unwrap();
        let epsilons = values(&adversarial.epsilon);
        let after = scene.value(&adversarial.image, PixelObjective::Gain).unwrap();
        for ((before, after), epsilon) in before.iter().zip(&after).zip(&epsilons) {
            prop_assert_eq!(before.signum(), epsilon.signum()); // eq. 18 as written
            if epsilon.abs() < 0.3 {
                prop_assert!(after.abs() < 1e-5, "mean gain {before} became {after} at epsilon {epsilon}");
            }
        }
    }

    #[test]
    fn negative_gains_are_treated_as_told(seed: u64) {
        let scene = Scene::new(seed, 2, 0.3, 0.7).unwrap();
        let run = |negative_gain| scene.run(&FastNewton { negative_gain, max_epsilon: Some(0.1) }, 1).unwrap();
        let literal = run(NegativeGain::Literal);
        for option in [NegativeGain::Clamp, NegativeGain::Skip, NegativeGain::Abs] {
            let other = run(option);
            for (index, (&epsilon, &found)) in values(&literal.epsilon).iter().zip(&values(&other.epsilon)).enumerate() {
                let expected = if option == NegativeGain::Abs { epsilon.abs() } else { epsilon.max(0.0) };
                prop_assert_eq!(found, expected);
                let unchanged = scene.change(&other.image).unwrap()[index] == 0.0;
                prop_assert_eq!(unchanged, expected == 0.0);
            }
        }
    }

    #[test]
    fn cross_entropy_grows(seed: u64) {
        // The cross-entropy of a linear model is convex: a step along the gradient's sign cannot lower it.
        let scene = Scene::new(seed, 3, 0.0, 1.0).unwrap();
        let before = scene.value(&scene.image, PixelObjective::CrossEntropy).unwrap();
        let apgd = Apgd { epsilon: 0.05, steps: 7, random_start: false };
        let (bim, pgd) = (
            Bim { epsilon: 0.05, alpha: 0.02, steps: 4 },
            Pgd { epsilon: 0.05, alpha: 0.02, steps: 5, restarts: 2 },
        );
        let momentum = MiFgsm { epsilon: 0.05, alpha: 0.02, steps: 4, decay: 1.0 };
        for attack in [&Fgsm { epsilon: 0.05 } as &dyn Attack, &bim, &pgd, &momentum, &apgd] {
            let adversarial = scene.run(attack, 1).unwrap();
            let after = scene.value(&adversarial.image, PixelObjective::CrossEntropy).unwrap();
            prop_assert!(before.iter().zip(&after).all(|(before, after)| after > before));
        }
    }

    #[test]
    fn curves_are_the_attacks_one_by_one(seed: u64, alpha in 0.002..0.02_f64, steps in 1_usize..8) {
        let scene = Scene::new(seed, 3, 0.0, 1.0).unwrap();
        let model = |image: &Tensor| scene.logits(image);
        let epsilons = [0.0, 0.03, 0.005, 0.01, 0.03, 0.04];
        let (image, label) = (&scene.image, &scene.label);
        let fgsm = fgsm_curve(&model, image, label, &epsilons).unwrap();
        let bim = bim_curve(&model, image, label, alpha, steps, &epsilons).unwrap();
        let random = || stream(1, "attack", [0; 3]);
        let [segpgd, from_random] = [Start::Image, Start::Random].map(|start| SegPgd { epsilon: 0.0, alpha, steps, start });
        let segpgds = [segpgd, from_random]
            .map(|attack| segpgd_curve(&model, image, label, attack, &epsilons, &mut random()).unwrap());
        let [cospgd, cos_from_random] = [Start::Image, Start::Random].map(|start| CosPgd { epsilon: 0.0, alpha, steps, start });
        let cospgds = [cospgd, cos_from_random]
            .map(|attack| cospgd_curve(&model, image, label, attack, &epsilons, &mut random()).unwrap());
        let momentum = MiFgsm { epsilon: 0.0, alpha, steps, decay: 0.9 };
        let mi_fgsm = mi_fgsm_curve(&model, image, label, momentum, &epsilons).unwrap();
        let start = Pgd { epsilon: 0.0, alpha, steps, restarts: 1 };
        let pgd = pgd_curve(&model, image, label, start, &epsilons, &mut random()).unwrap();
        for (index, epsilon) in epsilons.into_iter().enumerate() {
            let pairs: [(&dyn Attack, &Tensor); 8] = [
                (&Fgsm { epsilon }, &fgsm[index]),
                (&Bim { epsilon, alpha, steps }, &bim[index]),
                (&SegPgd { epsilon, ..segpgd }, &segpgds[0][index]),
                (&SegPgd { epsilon, ..from_random }, &segpgds[1][index]),
                (&CosPgd { epsilon, ..cospgd }, &cospgds[0][index]),
                (&CosPgd { epsilon, ..cos_from_random }, &cospgds[1][index]),
                (&MiFgsm { epsilon, ..momentum }, &mi_fgsm[index]),
                (&Pgd { epsilon, ..start }, &pgd[index][0]),
            ];
            for (attack, found) in pairs {
                let expected = scene.run(attack, 1).unwrap();
                prop_assert_eq!(values(found), values(&expected.image), "{} at {}", attack.name(), epsilon);
            }
        }
    }
}

#[test]
fn segpgd_and_cospgd_start_where_they_are_told() -> Result<()> {
    let scene = Scene::new(6, 3, 0.2, 0.8)?;
    let first = |attack: &dyn Attack, seed| -> Result<Vec<f32>> {
        let seen = RefCell::new(None);
        let model = |image: &Tensor| {
            seen.borrow_mut().get_or_insert_with(|| image.detach());
            scene.logits(image)
        };
        attack.perturb(&model, &scene.image, &scene.label, &mut stream(seed, "attack", [0; 3]))?;
        Ok(values(&seen.take().expect("the model saw it").to_dtype(DType::F32)?))
    };
    let image = values(&scene.image);
    let (epsilon, alpha, steps) = (0.05, 0.01, 2);
    let attacks = |start| -> [Box<dyn Attack>; 2] {
        [Box::new(SegPgd { epsilon, alpha, steps, start }), Box::new(CosPgd { epsilon, alpha, steps, start })]
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
fn curves_share_gradients() -> Result<()> {
    let scene = Scene::new(5, 3, 0.2, 0.8)?;
    let calls = Cell::new(0);
    let model = |image: &Tensor| {
        calls.set(calls.get() + 1);
        scene.logits(image)
    };
    let epsilons = [0.0, 0.01, 0.02, 0.04];
    fgsm_curve(&model, &scene.image, &scene.label, &epsilons)?;
    assert_eq!(calls.take(), 1);
    // Steps of 0.004: the paths inside 0.01 and 0.02 leave the common one at steps 3 and 5 or 6 (rounding).
    bim_curve(&model, &scene.image, &scene.label, 0.004, 10, &epsilons)?;
    let shared = calls.take();
    assert!((10 + 7 + 4..=10 + 7 + 5).contains(&shared), "{shared} gradients");
    Ok(())
}

#[test]
fn momentum_without_memory_is_bim_and_with_it_goes_on() -> Result<()> {
    let scene = Scene::new(8, 3, 0.2, 0.8)?;
    let bim = scene.run(&Bim { epsilon: 0.05, alpha: 0.02, steps: 4 }, 1)?;
    let momentum = |decay| scene.run(&MiFgsm { epsilon: 0.05, alpha: 0.02, steps: 4, decay }, 1);
    assert_eq!(values(&momentum(0.0)?.image), values(&bim.image));
    // A slope that turns round between 0.52 and 0.53: the third step's gradient points back, the sum does not.
    let slope = |image: &Tensor| {
        let there = image.narrow(1, 0, 1)?.affine(1.0, -0.525)?.sqr()?.affine(-1e3, 0.0)?;
        Tensor::cat(&[&there.affine(-1.0, 0.0)?, &there], 1)?.permute((0, 2, 3, 1))?.contiguous()
    };
    let image = Tensor::full(0.5_f32, (1, 3, 1, 1), &Device::Cpu)?;
    let label = Tensor::zeros((1, 1, 1), DType::U8, &Device::Cpu)?;
    let last = |attack: &dyn Attack| -> Result<f32> {
        let random = &mut stream(0, "unused", [0; 3]);
        Ok(values(&attack.perturb(&slope, &image, &label, random)?.image)[0])
    };
    let (alpha, epsilon, steps) = (0.01, 0.1, 4);
    assert!((last(&Bim { epsilon, alpha, steps })? - 0.52).abs() < 1e-6);
    assert!(last(&MiFgsm { epsilon, alpha, steps, decay: 1.0 })? > 0.535);
    Ok(())
}

#[test]
fn starts_are_spread_over_the_ball() -> Result<()> {
    // A step too small to matter leaves a start where it was drawn.
    let colours = |image: &Tensor| image.permute((0, 2, 3, 1))?.contiguous();
    let image = Tensor::full(0.5_f32, (1, 3, 40, 40), &Device::Cpu)?;
    let label = Tensor::zeros((1, 40, 40), DType::U8, &Device::Cpu)?;
    let pgd = Pgd { epsilon: 0.1, alpha: 1e-6, steps: 1, restarts: 1 };
    let start = pgd.perturb(&colours, &image, &label, &mut stream(0, "start", [0; 3]))?.image;
    let changes: Vec<f32> = values(&start).into_iter().map(|value| value - 0.5).collect();
    let mean = changes.iter().sum::<f32>() / changes.len() as f32;
    let variance = changes.iter().map(|change| change * change).sum::<f32>() / changes.len() as f32;
    assert!(mean.abs() < 0.004 && (variance - 0.01 / 3.0).abs() < 2e-4, "{mean} {variance}");
    Ok(())
}

#[test]
fn restarts_never_lower_the_cross_entropy() -> Result<()> {
    let scene = Scene::new(9, 4, 0.0, 1.0)?;
    let run = |restarts| scene.run(&Pgd { epsilon: 0.05, alpha: 0.002, steps: 2, restarts }, 3);
    let entropy = |found: Adversarial| scene.value(&found.image, PixelObjective::CrossEntropy);
    let (one, many) = (entropy(run(1)?)?, entropy(run(6)?)?);
    assert!(one.iter().zip(&many).all(|(one, many)| many >= one), "{one:?} {many:?}");
    assert_ne!(one, many);
    Ok(())
}

#[test]
fn apgd_is_no_weaker_than_fgsm_and_sea_gets_most_pixels_wrong() -> Result<()> {
    // Labels that the model gets right.
    let mut scene = Scene::new(10, 4, 0.2, 0.8)?;
    scene.label = scene.predict(&scene.image)?;
    let right = |image: &Tensor| -> Result<f32> {
        Ok(scene.predict(image)?.eq(&scene.label)?.to_dtype(DType::F32)?.sum_all()?.to_scalar()?)
    };
    let fgsm = scene.run(&Fgsm { epsilon: 0.05 }, 1)?.image;
    let apgd = scene.run(&Apgd { epsilon: 0.05, steps: 20, random_start: true }, 1)?.image;
    let before = scene.value(&fgsm, PixelObjective::CrossEntropy)?;
    let after = scene.value(&apgd, PixelObjective::CrossEntropy)?;
    // The gradient's sign is the same everywhere in the ball of most pixels: APGD finds the same corner.
    assert!(before.iter().zip(&after).all(|(before, after)| *after >= before - 1e-4), "{before:?} {after:?}");
    let sea = scene.run(&Sea { epsilon: 0.05, steps: 30, random_start: true }, 1)?.image;
    assert!(right(&sea)? <= right(&apgd)?, "{} {}", right(&sea)?, right(&apgd)?);
    assert!(right(&sea)? < right(&scene.image)?);
    Ok(())
}

#[test]
fn dag_goes_on_with_the_pixels_that_are_right_until_they_are_few() -> Result<()> {
    // Class 0 above a red of 0.5, with a gain that is linear in it: every right pixel moves alike.
    let model = |image: &Tensor| {
        let red = image.narrow(1, 0, 1)?.permute((0, 2, 3, 1))?.affine(10.0, -5.0)?;
        Tensor::cat(&[&red, &red.zeros_like()?], 3)?.contiguous()
    };
    let image = Tensor::new(&[[[[0.6_f32, 0.55]], [[0.2, 0.2]], [[0.2, 0.2]]]], &Device::Cpu)?;
    let label = Tensor::zeros((1, 1, 2), DType::U8, &Device::Cpu)?;
    let all = Dag { alpha: 0.03, steps: 9, wrong: 1.0, max_epsilon: None };
    for (attack, reds, epsilon) in [
        (all, [0.48, 0.49], 0.12),
        (Dag { wrong: 0.5, ..all }, [0.54, 0.49], 0.06),
        (Dag { steps: 1, ..all }, [0.57, 0.52], 0.03),
        (Dag { max_epsilon: Some(0.045), ..all }, [0.555, 0.505], 0.045),
    ] {
        let found = attack.perturb(&model, &image, &label, &mut stream(0, "unused", [0; 3]))?;
        let pixels = values(&found.image);
        assert!(pixels.iter().zip(reds).all(|(found, red)| (found - red).abs() < 1e-6), "{pixels:?}");
        assert_eq!(pixels[2..], [0.2; 4]);
        assert!((values(&found.epsilon)[0] - epsilon).abs() < 1e-6, "{attack:?}");
    }
    Ok(())
}

#[test]
fn budgets_are_counted() -> Result<()> {
    let scene = Scene::new(11, 3, 0.2, 0.8)?;
    let model = |image: &Tensor| scene.logits(image);
    let counted = Counted::new(&model);
    let cost = |attack: &dyn Attack| -> Result<Budget> {
        attack.perturb(&counted, &scene.image, &scene.label, &mut stream(0, "attack", [0; 3]))?;
        Ok(counted.take())
    };
    let of_two = |forward: u64, backward: u64| Budget { forward: 2 * forward, backward: 2 * backward };
    assert_eq!(cost(&Fgsm { epsilon: 0.05 })?, of_two(1, 1));
    assert_eq!(cost(&Bim { epsilon: 0.05, alpha: 0.01, steps: 4 })?, of_two(4, 4));
    assert_eq!(cost(&Pgd { epsilon: 0.05, alpha: 0.01, steps: 4, restarts: 3 })?, of_two(12 + 3, 12));
    assert_eq!(cost(&Apgd { epsilon: 0.05, steps: 20, random_start: true })?, of_two(21, 20));
    // Three objectives in three balls, and a look at each of the three examples.
    assert_eq!(cost(&Sea { epsilon: 0.05, steps: 10, random_start: true })?, of_two(3 * 13 + 3, 30));
    Ok(())
}

/// A model that takes f64 images: its logits are those of bright and dark, and it keeps the first pixels it saw.
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
    let bim = Bim { epsilon: 0.025, alpha: 0.01, steps: 4 };
    let adversarial = bim.perturb(&watch, &image, &label, &mut stream(0, "unused", [0; 3]))?.image;
    // The label says bright, so pixels get darker, until the ball ends.
    let start = f64::from(0.7_f32);
    for (seen, step) in watch.0.borrow().iter().zip([0.0, 0.01, 0.02, 0.025]) {
        assert!((seen - (start - step)).abs() < 1e-15, "{seen} after {step}");
    }
    assert_eq!(values(&adversarial)[0], (start - 0.025) as f32);
    Ok(())
}

#[test]
fn an_image_without_labels_stays_as_it_is() -> Result<()> {
    let mut scene = Scene::new(6, 3, 0.0, 1.0)?;
    scene.label = Tensor::full(IGNORE_LABEL, scene.label.shape(), &Device::Cpu)?;
    for attack in attacks(0.05, 0.02, 3) {
        let adversarial = scene.run(attack.as_ref(), 1)?;
        assert_eq!(values(&adversarial.image), values(&scene.image), "{}", attack.name());
        if attack.name() == "fast_newton" {
            assert_eq!(values(&adversarial.epsilon), [0.0, 0.0]);
        }
    }
    Ok(())
}

#[test]
fn input_gradients_of_the_gain_by_hand() -> Result<()> {
    // Logits (r, 2g): label 0 has gain r - 2g, so the gradient is (1, -2, 0) over the number of labelled pixels.
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
    let run = |model: &dyn Model, attack: &dyn Attack| {
        attack.perturb(model, &scene.image, &scene.label, &mut stream(0, "attack", [0; 3])).unwrap_err()
    };
    let constant = |image: &Tensor| scene.logits(&image.detach());
    assert!(matches!(run(&constant, &Fgsm::default()), Error::NoGradient));
    let diverged = |image: &Tensor| scene.logits(image)? * f64::NAN;
    assert!(matches!(run(&diverged, &FastNewton::default()), Error::NotFinite { index: 0, .. }));
    let model = |image: &Tensor| scene.logits(image);
    for attack in [&Fgsm { epsilon: 8.0 } as &dyn Attack, &Bim { epsilon: 8.0, alpha: 2.0, steps: 3 }] {
        assert!(matches!(run(&model, attack), Error::Setting { .. }));
    }
    Ok(())
}

#[test]
fn sea_takes_the_example_with_the_fewest_right_pixels() -> Result<()> {
    let sea = Sea { epsilon: 0.15, steps: 1, random_start: true };
    let mut different = 0;
    for seed in 0..20 {
        let mut scene = Scene::new(seed, 6, 0.2, 0.8)?;
        // All is right before the attack, and each objective has its own start.
        scene.label = scene.logits(&scene.image)?.argmax(3)?.to_dtype(DType::U8)?;
        let right = |image: &Tensor| -> Result<Vec<f32>> {
            let predicted = scene.logits(image)?.argmax(3)?.to_dtype(DType::U8)?;
            Ok(predicted.eq(&scene.label)?.to_dtype(DType::F32)?.flatten_from(1)?.sum(1)?.to_vec1()?)
        };
        let model = |image: &Tensor| scene.logits(image);
        let random = &mut stream(seed, "attack", [0; 3]);
        let candidates = sea.candidates(&model, &scene.image, &scene.label, random)?;
        let counts = candidates.iter().map(right).collect::<Result<Vec<_>>>()?;
        for (image, found) in right(&scene.run(&sea, seed)?.image)?.into_iter().enumerate() {
            let counts = counts.iter().map(|counts| counts[image]);
            assert_eq!(found, counts.clone().fold(f32::MAX, f32::min));
            different += usize::from(counts.fold(0.0, f32::max) > found);
        }
    }
    assert!(different > 0, "the candidates never differ");
    Ok(())
}
