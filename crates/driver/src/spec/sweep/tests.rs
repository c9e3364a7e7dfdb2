use super::*;

const BASE_SPEC: &str = "
data: {manifest: m.yaml}
model: {layers: [1, 1, 1, 1], width: 4}
training: {method: basic, epochs: 1, batch_size: 2}
";

/// The sweep with `text` next to the spec `base.yaml`.
fn sweep(text: &str, overrides: &[&str]) -> Result<Sweep, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sweep.yaml");
    std::fs::write(folder.path().join("base.yaml"), BASE_SPEC).unwrap();
    std::fs::write(&path, text).unwrap();
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    Sweep::read(&path, &overrides).map_err(|error| error.to_string())
}

fn names(sweep: &Sweep) -> Vec<&str> {
    sweep.members.iter().map(|member| member.name.as_str()).collect()
}

#[test]
fn a_grid_has_a_run_for_each_combination_and_the_last_axis_varies_fastest() {
    let text = "
name: grid
base: base.yaml
set: {training: {epochs: 2}}
axes:
  training.method: [basic, fgsm, {bim: {epsilon: 8/255}}]
  size:
    small:
    large: {model: {width: 8}}
  seed: [0, 7]
";
    let found = sweep(text, &["training.batch_size=4"]).unwrap();
    assert_eq!(found.members.len(), 12);
    let expected = ["basic-small-seed-0", "basic-small-seed-7", "basic-large-seed-0"];
    assert_eq!(names(&found)[..3], expected);
    let last = &found.members[11];
    assert_eq!(last.name, "bim-large-seed-7");
    assert_eq!(last.values[1], ("size".into(), "large".into()));
    assert_eq!(last.spec.name, "grid-bim-large-seed-7");
    let training = &last.spec.training;
    assert_eq!((training.method.name(), training.epochs, training.batch_size), ("bim", 2, 4));
    assert_eq!((last.spec.seed, found.members[0].spec.seed), (7, 0));
    let widths = [0, 2].map(|run: usize| found.members[run].spec.to_yaml().unwrap().contains("width: 8"));
    assert_eq!(widths, [false, true]);
    assert!(last.spec.data.manifest.is_absolute(), "{:?}", last.spec.data.manifest);
}

#[test]
fn bases_of_values_lie_below_the_settings_of_all_runs() {
    let text = "
name: sets
set: {training: {epochs: 5}}
axes:
  data:
    one: {base: base.yaml}
    two: {base: base.yaml, data: {train_split: other}, training: {batch_size: 6}}
  training.learning_rate: [0.1, 1/8, 1e-6]
";
    let found = sweep(text, &[]).unwrap();
    assert_eq!(
        names(&found),
        [
            "one-learning_rate-0.1",
            "one-learning_rate-1_8",
            "one-learning_rate-1e-6",
            "two-learning_rate-0.1",
            "two-learning_rate-1_8",
            "two-learning_rate-1e-6",
        ]
    );
    for member in &found.members {
        assert_eq!(member.spec.training.epochs, 5, "the base says 1");
    }
    let spec = &found.members[4].spec;
    assert_eq!((spec.data.train_split.as_str(), spec.training.batch_size), ("other", 6));
    assert_eq!(spec.training.learning_rate, 0.125);
}

#[test]
fn excluded_combinations_are_left_out() {
    let head = "name: x\nbase: base.yaml\naxes:\n  training.method: [basic, fgsm]\n  training.adversarial_probability: [0.5, 1]\n";
    let all = sweep(head, &[]).unwrap();
    assert_eq!(all.members.len(), 4);
    let text =
        head.to_owned() + "exclude: [{training.method: basic, training.adversarial_probability: [1]}]\n";
    let kept = sweep(&text, &[]).unwrap();
    let expected = [
        "basic-adversarial_probability-0.5",
        "fgsm-adversarial_probability-0.5",
        "fgsm-adversarial_probability-1",
    ];
    assert_eq!(names(&kept), expected);
}

#[test]
fn faults_name_line_and_column() {
    let head = "name: x\nbase: base.yaml\naxes:\n";
    for (text, parts) in [
        ("axes: {seed: [0]}\n".to_owned(), &["key `name` is missing"][..]),
        ("name: x\nbase: base.yaml\n".into(), &["key `axes` is missing"]),
        ("name: x\naxis: {}\n".into(), &["sweep.yaml:2:1", "unknown key `axis`", "`axes`"]),
        ("name: ../x\nbase: base.yaml\naxes: {seed: [0]}\n".into(), &["sweep.yaml:1:7", "run directory"]),
        ("name: x\nbase: none.yaml\naxes: {seed: [0]}\n".into(), &["sweep.yaml:2:7", "none.yaml"]),
        (head.to_owned() + "  seed: 3\n", &["sweep.yaml:4:3", "axes.seed", "a list of values"]),
        (head.to_owned() + "  seed: []\n", &["sweep.yaml:4:3", "axes.seed", "no values"]),
        (head.to_owned() + "  seed: [1, 1]\n", &["axes.seed", "two values are named seed-1"]),
        (head.to_owned() + "  seed: [1, x]\n", &["sweep.yaml:4:13", "seed", "whole number", "the run x"]),
        (head.to_owned() + "  sed: [1]\n", &["sweep.yaml:4:9", "unknown key `sed`", "did you mean `seed`?"]),
        (head.to_owned() + "  a..b: [1]\n", &["sweep.yaml:4:3", "not a key"]),
        (
            head.to_owned() + "  m: {a/b: {seed: 1}}\n",
            &["sweep.yaml:4:7", "axes.m.a/b: cannot name a folder"],
        ),
        (head.to_owned() + "  m: {a: 3}\n", &["sweep.yaml:4:10", "axes.m.a", "keys of a spec"]),
        (head.to_owned() + "  m: {a: {name: y}}\n", &["sweep.yaml:4:11", "names its runs"]),
        (
            head.to_owned() + "  m: {a: {training: {epoch: 2}}}\n",
            &["sweep.yaml:4:22", "`epochs`", "the run a"],
        ),
        (head.to_owned() + "  m: {compare: {seed: 1}}\n", &["sweep.yaml:4:3", "compare"]),
        (head.to_owned() + "  m: {a: {seed: 1}, b: {seed: 1}}\n", &["a and b are the same run", "exclude"]),
        (
            head.to_owned()
                + "  m: {a-b: {seed: 1}, a: {seed: 2}}\n  n: {c: {}, b-c: {training: {epochs: 2}}}\n",
            &["two runs are named a-b-c"],
        ),
        (head.to_owned() + "  evaluation.curves: [[], []]\n", &["sweep.yaml:4:23", "a name"]),
        (head.to_owned() + "  seed: [1]\nexclude: [{sed: 1}]\n", &["sweep.yaml:5:12", "unknown axis `sed`"]),
        (head.to_owned() + "  seed: [1]\nexclude: [{seed: 2}]\n", &["sweep.yaml:5:18", "unknown value `2`"]),
        (head.to_owned() + "  seed: [1]\nexclude: [{seed: 1}]\n", &["every run is excluded"]),
        (
            head.to_owned() + "  seed: [1]\nexclude: {seed: 1}\n",
            &["sweep.yaml:5:10", "a list of values by axis"],
        ),
        ("- 1\n".into(), &["keys of a sweep"]),
    ] {
        let error = sweep(&text, &[]).expect_err(&text);
        for part in parts {
            assert!(error.contains(part), "{text}{error} lacks {part}");
        }
    }
    let many: Vec<String> = (0..40).map(|value| value.to_string()).collect();
    let many = format!("{head}  seed: [{0}]\n  training.epochs: [{0}]\n", many.join(", "));
    assert!(sweep(&many, &[]).unwrap_err().contains("1600 runs"));
    let text = head.to_owned() + "  seed: [0, 1]\n";
    assert!(sweep(&text, &["seed=3"]).unwrap_err().contains("same run"));
    assert!(sweep(&text, &["name=y"]).unwrap_err().contains("names its runs"));
}

#[test]
fn a_sweep_is_no_spec() {
    let error = Spec::parse("name: x\naxes: {seed: [0]}\n", &[]).unwrap_err();
    assert!(error.to_string().contains("robustseg sweep"), "{error}");
}
