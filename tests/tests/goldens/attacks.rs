//! Adversarial examples.

use crate::case::cases;
use crate::faults::Faults;
use robustseg_attacks::{AttackConfig, Overrides, check_gradient};
use robustseg_random::stream;
use robustseg_training::{Statistics, Target};

const NEWTON_STEP: &str = "fast_newton_epsilon";

/// Whether `name` belongs to this family.
pub(crate) fn is_known(name: &str) -> bool {
    name == NEWTON_STEP || attack(name).is_some()
}

/// The attack that a tensor is named after, as `bim_0.03_0.01_3`: epsilon, alpha, steps.
fn attack(tensor: &str) -> Option<AttackConfig> {
    AttackConfig::all().iter().find_map(|config| {
        let name = config.name();
        let parameters: Vec<&str> = match tensor.strip_prefix(name)? {
            "" => Vec::new(),
            rest => rest.strip_prefix('_')?.split('_').collect(),
        };
        let mut overrides = Overrides::default();
        for (place, text) in parameters.into_iter().enumerate() {
            match place {
                0 => overrides.epsilon = Some(text.parse().ok()?),
                1 => overrides.alpha = Some(text.parse().ok()?),
                2 => overrides.steps = Some(text.parse().ok()?),
                _ => return None,
            }
        }
        AttackConfig::by_name(name, overrides).ok()
    })
}

/// How many signs of gradients an attack's example passes through.
fn steps(attack: &AttackConfig) -> usize {
    match attack {
        AttackConfig::Bim(bim) => bim.steps,
        AttackConfig::SegPgd(segpgd) => segpgd.steps,
        AttackConfig::CosPgd(cospgd) => cospgd.steps,
        AttackConfig::Pgd(pgd) => pgd.steps,
        AttackConfig::MiFgsm(momentum) => momentum.steps,
        AttackConfig::Apgd(apgd) => apgd.steps,
        AttackConfig::Sea(sea) => sea.steps,
        AttackConfig::Dag(dag) => dag.steps,
        AttackConfig::Fgsm(_) | AttackConfig::RandomFgsm(_) | AttackConfig::FastNewton(_) => 1,
    }
}

/// Runs every attack of every case that `wanted` names.
fn check(wanted: impl Fn(&AttackConfig) -> bool) {
    let mut faults = Faults::default();
    for case in cases() {
        let target = Target::new(&case.network, Statistics::Running);
        for name in case.names() {
            let Some(config) = attack(name).filter(&wanted) else { continue };
            let ours = config
                .attack()
                .perturb(&target, &case.image, &case.label, &mut stream(0, "golden", [0; 3]))
                .unwrap_or_else(|error| panic!("{}: {name}: {error}", case.name));
            faults.compare_after(&case, name, &ours.image, steps(&config));
            if matches!(config, AttackConfig::FastNewton(_)) {
                faults.compare(&case, NEWTON_STEP, &ours.epsilon);
            }
        }
    }
    faults.finish();
}

#[test]
fn fgsm() {
    check(|attack| matches!(attack, AttackConfig::Fgsm(_)));
}

#[test]
fn bim() {
    check(|attack| matches!(attack, AttackConfig::Bim(_)));
}

#[test]
fn fast_newton() {
    check(|attack| matches!(attack, AttackConfig::FastNewton(_)));
}

#[test]
fn segpgd() {
    check(|attack| matches!(attack, AttackConfig::SegPgd(_)));
}

#[test]
fn cospgd() {
    check(|attack| matches!(attack, AttackConfig::CosPgd(_)));
}

#[test]
fn names_tell_attacks_and_their_parameters() {
    let by_name = |name, epsilon, alpha, steps| {
        AttackConfig::by_name(name, Overrides { epsilon, alpha, steps, ..Overrides::default() }).ok()
    };
    assert_eq!(attack("bim_0.04_0.004_10"), by_name("bim", Some(0.04), Some(0.004), Some(10)));
    assert_eq!(attack("segpgd_0.03_0.01_5"), by_name("segpgd", Some(0.03), Some(0.01), Some(5)));
    assert_eq!(attack("fgsm_0.03"), by_name("fgsm", Some(0.03), None, None));
    assert_eq!(attack("fast_newton"), by_name("fast_newton", None, None, None));
    for name in ["fast_newton_epsilon", "fgsm_x", "bim_0.1_0.1_1_1", "image", "cw_0.1"] {
        assert_eq!(attack(name), None);
    }
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    for case in cases() {
        let target = Target::new(&case.network, Statistics::Running);
        for row in 0..case.image.dim(0).unwrap() {
            let (image, label) =
                (case.image.narrow(0, row, 1).unwrap(), case.label.narrow(0, row, 1).unwrap());
            if let Some(found) = check_gradient(&target, &image, &label).unwrap() {
                assert!(found.agrees(), "{}, image {row}: {found:?}", case.name);
            }
        }
    }
}
