//! Adversarial examples.

use crate::case::cases;
use crate::faults::Faults;
use robustseg_attacks::{AttackConfig, Case, Settings, attacks, check_gradient};
use robustseg_evaluation::Target;
use robustseg_models::NormStatistics;
use robustseg_random::stream;
use serde_json::json;

const NEWTON_STEP: &str = "fast_newton_epsilon";

/// Whether `name` belongs to this family.
pub(crate) fn is_known(name: &str) -> bool {
    name == NEWTON_STEP || attack(name).is_some()
}

/// The attack encoded in a tensor's name, such as `bim_0.03_0.01_3`: epsilon, alpha, steps.
fn attack(tensor: &str) -> Option<AttackConfig> {
    attacks().iter().find_map(|known| {
        let name = known.name();
        let parameters: Vec<&str> = match tensor.strip_prefix(name)? {
            "" => Vec::new(),
            rest => rest.strip_prefix('_')?.split('_').collect(),
        };
        let mut changes = Settings::default();
        for (place, text) in parameters.into_iter().enumerate() {
            match place {
                0 => changes.set("epsilon", text.parse::<f64>().ok()?),
                1 => changes.set("alpha", text.parse::<f64>().ok()?),
                2 => changes.set("steps", text.parse::<u64>().ok()?),
                _ => return None,
            }
        }
        AttackConfig::by_name(name, &changes).ok()
    })
}

/// The number of gradient signs involved in an attack's example.
fn steps(attack: &AttackConfig) -> usize {
    attack.attack().settings().number("steps").map_or(1, |steps| steps as usize)
}

/// Runs the attack `wanted` for every case that includes it.
fn check(wanted: &str) {
    let mut faults = Faults::default();
    for case in cases() {
        let target = Target::new(&case.network, NormStatistics::Running);
        for name in case.names() {
            let Some(config) = attack(name).filter(|config| config.name() == wanted) else { continue };
            let ours = Case::new(&target, &case.image, &case.label)
                .and_then(|case| config.perturb(&case, &mut stream(0, "golden", [0; 3])))
                .unwrap_or_else(|error| panic!("{}: {name}: {error}", case.name));
            faults.compare_after(&case, name, &ours.image, steps(&config));
            if wanted == "fast_newton" {
                faults.compare(&case, NEWTON_STEP, &ours.epsilon);
            }
        }
    }
    faults.finish();
}

#[test]
fn fgsm() {
    check("fgsm");
}

#[test]
fn bim() {
    check("bim");
}

#[test]
fn fast_newton() {
    check("fast_newton");
}

#[test]
fn segpgd() {
    check("segpgd");
}

#[test]
fn cospgd() {
    check("cospgd");
}

#[test]
fn names_tell_attacks_and_their_parameters() {
    let by_name = |name, settings: serde_json::Value| {
        AttackConfig::by_name(name, &serde_json::from_value(settings).expect("a map")).ok()
    };
    let iterated = |epsilon, alpha, steps| json!({"epsilon": epsilon, "alpha": alpha, "steps": steps});
    assert_eq!(attack("bim_0.04_0.004_10"), by_name("bim", iterated(0.04, 0.004, 10)));
    assert_eq!(attack("segpgd_0.03_0.01_5"), by_name("segpgd", iterated(0.03, 0.01, 5)));
    assert_eq!(attack("fgsm_0.03"), by_name("fgsm", json!({"epsilon": 0.03})));
    assert_eq!(attack("fast_newton"), by_name("fast_newton", json!({})));
    for name in ["fast_newton_epsilon", "fgsm_x", "bim_0.1_0.1_1_1", "image", "cw_0.1"] {
        assert_eq!(attack(name), None);
    }
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    for case in cases() {
        let target = Target::new(&case.network, NormStatistics::Running);
        for row in 0..case.image.dim(0).unwrap() {
            let (image, label) =
                (case.image.narrow(0, row, 1).unwrap(), case.label.narrow(0, row, 1).unwrap());
            if let Some(found) = check_gradient(&target, &image, &label).unwrap() {
                assert!(found.agrees(), "{}, image {row}: {found:?}", case.name);
            }
        }
    }
}
