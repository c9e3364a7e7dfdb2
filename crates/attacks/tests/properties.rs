//! Properties of the attacks on models whose gradients are known: a linear map of each pixel.

mod scene;

use candle_core::{DType, Tensor};
use proptest::prelude::*;
use robustseg_attacks::{
    AlmaProx, Apgd, Attack, AttackConfig, Bim, Case, CosPgd, Dag, FastNewton, Fgsm, IGNORE_LABEL, MiFgsm,
    NegativeGain, Norm, Padam, Pgd, PixelObjective, RandomFgsm, Sea, SegFgsm, SegPgd, Start, TsallisApgd,
    TsallisPgd,
};
use robustseg_random::stream;
use scene::{Scene, attacks, values};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn results_are_images_inside_the_ball(
        seed: u64, classes in 2_usize..5, epsilon in 0.0..0.2_f64, alpha in 0.001..0.1_f64, steps in 1_usize..5,
    ) {
        let scene = Scene::new(seed, classes, 0.0, 1.0).unwrap();
        for attack in attacks(epsilon, alpha, steps) {
            let adversarial = scene.run(&attack, seed).unwrap();
            prop_assert!(values(&adversarial.image).iter().all(|v| (0.0..=1.0).contains(v)), "{}", attack.name());
            let radii = values(&adversarial.epsilon);
            for (change, radius) in scene.change(&adversarial.image).unwrap().iter().zip(&radii) {
                prop_assert!(*change <= radius.abs() + 1e-6, "{}: {change} beyond {radius}", attack.name());
                prop_assert!(attack.name() == "fast_newton" || *radius <= epsilon as f32);
            }
        }
    }

    #[test]
    fn attacks_in_l2_balls_stay_inside(seed: u64, epsilon in 0.0..40.0_f64, share in 0.21..3.0_f64, steps in 5_usize..9) {
        let scene = Scene::new(seed, 3, 0.0, 1.0).unwrap();
        let (alpha, norm) = ((share * epsilon).max(0.01), Norm::L2);
        let attacks = [
            AttackConfig::new(Pgd { alpha, steps, restarts: 2, norm }, epsilon),
            AttackConfig::new(SegPgd { alpha, steps, start: Start::Image, norm }, epsilon),
            AttackConfig::new(CosPgd { alpha, steps, start: Start::Random, norm }, epsilon),
            AttackConfig::new(Apgd { steps, random_start: true, norm }, epsilon),
        ];
        let radius = epsilon * 20_f64.sqrt() / 224.0;
        for attack in attacks {
            let found = scene.run(&attack, seed).unwrap().image;
            prop_assert!(values(&found).iter().all(|value| (0.0..=1.0).contains(value)), "{attack:?}");
            let change = (&found - &scene.image).unwrap().sqr().unwrap().flatten_from(1).unwrap().sum(1).unwrap();
            for squares in values(&change) {
                prop_assert!(f64::from(squares).sqrt() <= radius + 1e-6, "{attack:?}: {squares}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_result(seed: u64) {
        let scene = Scene::new(seed, 3, 0.0, 1.0).unwrap();
        for attack in attacks(0.05, 0.02, 3) {
            let (first, second) = (scene.run(&attack, 1).unwrap(), scene.run(&attack, 1).unwrap());
            prop_assert_eq!(values(&first.image), values(&second.image));
            prop_assert_eq!(values(&first.epsilon), values(&second.epsilon));
        }
        let random = AttackConfig::new(RandomFgsm {}, 0.05);
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
            let expected = scene.run(&attack, 1).unwrap();
            let random = &mut stream(1, "attack", [0; 3]);
            let found = attack.perturb(&scene.case(&other).unwrap(), random).unwrap();
            prop_assert_eq!(values(&found.image), values(&expected.image), "{}", attack.name());
            // The model treats each pixel on its own, so only a random start changes unlabelled
            // pixels.
            if attack.name() != "random_fgsm" && scene.depends_on_the_seed(&attack) {
                continue;
            }
            let moved = (expected.image.ne(&scene.image).unwrap().max(1).unwrap() * &ignored).unwrap();
            prop_assert_eq!(moved.max_all().unwrap().to_scalar::<u8>().unwrap(), 0, "{}", attack.name());
        }
    }

    #[test]
    fn dag_ends_when_enough_is_wrong(seed: u64, wrong in 0.1..1.0_f64) {
        let scene = Scene::new(seed, 3, 0.0, 1.0).unwrap();
        let dag = AttackConfig::new(Dag { alpha: 0.02, steps: 200, wrong }, f64::INFINITY);
        let found = scene.run(&dag, 1).unwrap();
        let right = scene.predict(&found.image).unwrap().eq(&scene.label).unwrap();
        let count = |mask: &Tensor| values(&mask.to_dtype(DType::F32).unwrap().flatten_from(1).unwrap().sum(1).unwrap());
        let labelled = count(&scene.label.ne(IGNORE_LABEL).unwrap());
        for (index, (right, labelled)) in count(&right).into_iter().zip(labelled).enumerate() {
            let share = f64::from((labelled - right) / labelled);
            let moved = values(&found.epsilon)[index];
            // Within [0, 1] a linear model may have pixels that no perturbation makes wrong.
            prop_assert!(share >= wrong || moved > 0.2, "{share} of {wrong}, {moved}");
        }
    }

    #[test]
    fn images_of_a_batch_are_attacked_apart(seed: u64) {
        let scene = Scene::new(seed, 3, 0.0, 1.0).unwrap();
        let fixed = [
            AttackConfig::new(Apgd { steps: 7, random_start: false, ..Apgd::default() }, 0.05),
            AttackConfig::new(Sea { steps: 10, random_start: false, ..Sea::default() }, 0.05),
            AttackConfig::new(TsallisApgd { steps: 10, random_start: false, ..TsallisApgd::default() }, 0.05),
        ];
        let attacks = attacks(0.05, 0.02, 3).into_iter().filter(|attack| !scene.depends_on_the_seed(attack));
        for attack in attacks.chain(fixed) {
            let both = scene.run(&attack, 1).unwrap();
            for index in 0..2 {
                let model = |image: &Tensor| scene.logits(image);
                let (image, label) = (scene.image.narrow(0, index, 1).unwrap(), scene.label.narrow(0, index, 1).unwrap());
                let case = Case::new(&model, &image, &label).unwrap();
                let alone = attack.perturb(&case, &mut stream(1, "attack", [0; 3])).unwrap();
                prop_assert_eq!(values(&alone.image), values(&both.image.narrow(0, index, 1).unwrap()));
            }
        }
    }

    #[test]
    fn fast_newton_finds_the_zero_of_a_linear_gain(seed: u64) {
        // With two classes the mean gain is linear. From the middle of [0, 1] nothing is clipped if
        // epsilon < 0.3.
        let scene = Scene::new(seed, 2, 0.3, 0.7).unwrap();
        let before = scene.value(&scene.image, PixelObjective::Gain).unwrap();
        let adversarial = scene.run(&AttackConfig::new(FastNewton::default(), f64::INFINITY), 1).unwrap();
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
    fn negative_gains_are_treated_as_the_option_says(seed: u64) {
        let scene = Scene::new(seed, 2, 0.3, 0.7).unwrap();
        let run = |negative_gain| scene.run(&AttackConfig::new(FastNewton { negative_gain }, 0.1), 1).unwrap();
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
        // The cross-entropy of a linear model is convex: a step along the gradient's sign cannot
        // lower it.
        let scene = Scene::new(seed, 3, 0.0, 1.0).unwrap();
        let before = scene.value(&scene.image, PixelObjective::CrossEntropy).unwrap();
        let apgd = AttackConfig::new(Apgd { steps: 7, random_start: false, ..Apgd::default() }, 0.05);
        let (bim, pgd) = (
            AttackConfig::new(Bim { alpha: 0.02, steps: 4 }, 0.05),
            AttackConfig::new(Pgd { alpha: 0.02, steps: 5, restarts: 2, ..Pgd::default() }, 0.05),
        );
        let momentum = AttackConfig::new(MiFgsm { alpha: 0.02, steps: 4, decay: 1.0 }, 0.05);
        let adam = AttackConfig::new(Padam { alpha: 0.02, steps: 4, ..Padam::default() }, 0.05);
        for attack in [&AttackConfig::new(Fgsm {}, 0.05), &bim, &pgd, &momentum, &apgd, &adam] {
            let adversarial = scene.run(attack, 1).unwrap();
            let after = scene.value(&adversarial.image, PixelObjective::CrossEntropy).unwrap();
            prop_assert!(before.iter().zip(&after).all(|(before, after)| after > before));
        }
    }

    #[test]
    fn examples_at_several_epsilons_are_those_of_one_after_the_other(
        seed: u64, alpha in 0.002..0.02_f64, steps in 1_usize..8,
    ) {
        let scene = Scene::new(seed, 3, 0.0, 1.0).unwrap();
        let model = |image: &Tensor| scene.logits(image);
        let case = scene.case(&model).unwrap();
        let epsilons = [0.0, 0.03, 0.005, 0.01, 0.03, 0.04];
        let random = || stream(1, "attack", [0; 3]);
        let tsallis = TsallisPgd { alpha, steps, ..TsallisPgd::default() };
        let attacks: [Box<dyn Attack>; 15] = [
            Box::new(Fgsm {}),
            Box::new(Bim { alpha, steps }),
            Box::new(SegPgd { alpha, steps, start: Start::Image, ..SegPgd::default() }),
            Box::new(SegPgd { alpha, steps, start: Start::Random, ..SegPgd::default() }),
            Box::new(CosPgd { alpha, steps, start: Start::Image, ..CosPgd::default() }),
            Box::new(CosPgd { alpha, steps, start: Start::Random, ..CosPgd::default() }),
            Box::new(MiFgsm { alpha, steps, decay: 0.9 }),
            Box::new(Pgd { alpha, steps, restarts: 1, ..Pgd::default() }),
            Box::new(FastNewton::default()),
            Box::new(Dag { alpha, steps, wrong: 0.9 }),
            Box::new(AlmaProx { alpha, steps, wrong: 0.9 }),
            Box::new(SegFgsm {}),
            Box::new(tsallis),
            Box::new(TsallisPgd { start: Start::Random, ..tsallis }),
            Box::new(Padam { alpha, steps, ..Padam::default() }),
        ];
        for attack in attacks {
            let found = attack.examples(&case, &epsilons, &mut random()).unwrap();
            for (found, epsilon) in found.iter().zip(epsilons) {
                let expected = attack.perturb(&case, epsilon, &mut random()).unwrap();
                prop_assert_eq!(values(&found[0].image), values(&expected.image), "{} at {}", attack.name(), epsilon);
                prop_assert_eq!(values(&found[0].epsilon), values(&expected.epsilon), "{} at {}", attack.name(), epsilon);
            }
        }
    }
}
