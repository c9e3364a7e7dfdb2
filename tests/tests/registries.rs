//! Every registered attack, training method and metric is documented, can be written and read, and
//! has a unique name.

use robustseg_attacks::{AttackConfig, CurveConfig, attacks};
use robustseg_evaluation::METRICS;
use robustseg_published::KINDS;
use robustseg_training::MethodConfig;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

fn document(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace");
    std::fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Requires that `names` are all different and that `page` contains each of them in backticks.
fn are_in(page: &str, names: &[&str]) {
    let text = document(page);
    for name in names {
        assert!(text.contains(&format!("`{name}`")), "{page} does not name `{name}`");
    }
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
}

#[test]
fn every_attack_is_documented_and_can_be_a_curve() {
    let attacks = attacks();
    are_in("docs/attacks.md", &attacks.iter().map(|attack| attack.name()).collect::<Vec<_>>());
    for attack in &attacks {
        let name = attack.name();
        assert!(attack.summary().ends_with('.'), "{name}: {}", attack.summary());
        assert!(!attack.title().is_empty(), "{name}");
        let config = serde_json::from_value::<AttackConfig>(json!({ name: {} })).expect(name);
        config.validate().expect(name);
        let curve = serde_json::from_value::<CurveConfig>(json!({ name: {} })).expect(name);
        curve.validate().expect(name);
        assert!(curve.epsilons().contains(&0.0) && curve.epsilons().contains(&0.03), "{name}");
    }
}

#[test]
fn every_method_is_documented_and_reads_as_it_is_written() {
    let methods = MethodConfig::all();
    are_in("docs/training.md", &methods.iter().map(|method| method.name()).collect::<Vec<_>>());
    for method in methods {
        let name = method.name();
        assert!(method.summary().ends_with('.'), "{name}: {}", method.summary());
        method.validate().expect(name);
        let written = serde_json::to_value(&method).expect(name);
        assert_eq!(serde_json::from_value::<MethodConfig>(written).expect(name), method);
    }
}

#[test]
fn every_kind_of_published_checkpoint_is_documented() {
    are_in("docs/published.md", &KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>());
}

#[test]
fn every_metric_is_documented() {
    let records = document("docs/records.md");
    for metric in METRICS {
        assert!(
            records.contains(&format!("`{}`", metric.key)),
            "docs/records.md does not name `{}`",
            metric.key
        );
    }
}
