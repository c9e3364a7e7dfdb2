use super::*;
use robustseg_training::MethodConfig;

const SMALL: &str = "name: small\ndata: {manifest: m.yaml}\ntraining: {method: basic, epochs: 2}\n";

fn fault(text: &str, overrides: &[&str]) -> Fault {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    Spec::parse(text, &overrides).unwrap_err()
}

fn at(line: u64, column: u64) -> Place {
    Place::File { line, column }
}

#[test]
fn the_smallest_spec_has_the_papers_defaults() {
    let spec = Spec::parse(SMALL, &[]).unwrap();
    assert_eq!(spec.model.layers, [3, 4, 6, 3]);
    assert_eq!(spec.training, TrainingConfig::new(MethodConfig::Basic, 2));
    assert_eq!(spec.evaluation, EvaluationConfig::default());
    assert_eq!((spec.data.train_split.as_str(), spec.data.validation_split.as_str()), ("train", "val"));
}

#[test]
fn the_resolved_spec_reads_as_the_same_spec() {
    for method in ["basic", "fgsm", "{bim: {alpha: 0.0001}}", "fast_newton", "random_fgsm"] {
        let method = format!("training.method={method}");
        let window = "evaluation.window={sliding: {size: 33, stride: 11}}".to_owned();
        let rate = "training.learning_rate=1e-7".to_owned();
        let spec = Spec::parse(SMALL, &[method, window, rate]).unwrap();
        let yaml = spec.to_yaml().unwrap();
        assert_eq!(Spec::parse(&yaml, &[]).unwrap(), spec, "{yaml}");
    }
}

#[test]
fn unknown_keys_name_the_nearest_at_their_place() {
    let text = SMALL.to_owned() + "evaluation:\n  limits: 3\n";
    let found = fault(&text, &[]);
    assert_eq!(found.place, Some(at(5, 3)));
    assert_eq!(found.to_string(), "evaluation: unknown key `limits`; did you mean `limit`?");
    let found = fault(SMALL, &["training.method={fgms: {}}"]);
    assert_eq!(found.place, Some(Place::Override("training.method={fgms: {}}".into())));
    assert_eq!(found.to_string(), "training.method: unknown choice `fgms`; did you mean `fgsm`?");
}

#[test]
fn wrong_types_and_missing_keys_name_key_and_place() {
    let found = fault("name: small\ndata: {manifest: m}\ntraining:\n  method: basic\n  epochs: ten\n", &[]);
    assert_eq!(found.place, Some(at(5, 11)));
    assert!(found.to_string().starts_with("training.epochs: expected"), "{found}");
    let found = fault("name: small\ndata: {manifest: m}\ntraining:\n  method: basic\n", &[]);
    assert_eq!(found.place, Some(at(4, 3)));
    assert_eq!(found.to_string(), "training: key `epochs` is missing");
    let found = fault(SMALL, &["training.epochs=-1"]);
    assert!(found.to_string().starts_with("training.epochs: expected"), "{found}");
}

#[test]
fn ranges_are_checked_at_their_place() {
    let text =
        "name: small\ndata: {manifest: m}\ntraining:\n  epochs: 1\n  method:\n    fgsm: {epsilon: 8}\n";
    let found = fault(text, &[]);
    assert_eq!(found.place, Some(at(6, 21)));
    assert_eq!(found.path.join("."), "training.method.fgsm.epsilon");
    assert!(found.message.contains("did you mean 8/255"), "{found}");
    for (argument, key) in [
        ("training.momentum=1.5", "training.momentum"),
        ("training.momentum=.nan", "training.momentum"),
        ("training.learning_rate=.inf", "training.learning_rate"),
        ("training.batch_size=0", "training.batch_size"),
        ("model.width=0", "model.width"),
        ("model.std=[0.5, 0.0, 0.5]", "model.std"),
        ("name=../up", "name"),
        ("data.train_split=''", "data.train_split"),
        ("evaluation.curves=[{fgsm: {epsilons: [0, 4]}}]", "evaluation.curves.0.fgsm.epsilons.1"),
        ("evaluation.curves=[{bim: {alpha: -1}}]", "evaluation.curves.0.bim.alpha"),
        ("training.method={fast_newton: {max_epsilon: 9}}", "training.method.fast_newton.max_epsilon"),
        ("training.method={pixel_newton: {max_epsilon: 9}}", "training.method.pixel_newton.max_epsilon"),
        ("training.method={n_fgsm: {k: -2}}", "training.method.n_fgsm.k"),
        ("training.monitor={gap: 2}", "training.monitor.gap"),
        ("training.monitor={epsilon: 8}", "training.monitor.epsilon"),
        ("evaluation.window={sliding: {size: 2, stride: 3}}", "evaluation.window"),
    ] {
        let found = fault(SMALL, &[argument]);
        assert_eq!(found.path.join("."), key, "{argument}: {found}");
        assert_eq!(found.place, Some(Place::Override(argument.into())), "{argument}");
    }
}

#[test]
fn relative_paths_start_at_the_specs_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.yaml");
    std::fs::write(&path, SMALL.replace("m.yaml", "../m.yaml") + "model: {pretrained: timm/x}\n").unwrap();
    let spec = Spec::read(&path, &["data.root=data".into()]).unwrap();
    assert_eq!(spec.data.manifest, folder.path().join("../m.yaml"));
    assert_eq!(spec.data.root, Some(folder.path().join("data")));
    assert_eq!(spec.model.pretrained.as_deref(), Some("timm/x"));
}

#[test]
fn files_that_are_no_specs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spec.yaml");
    assert!(Spec::read(&path, &[]).unwrap_err().to_string().contains("no such file"));
    std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    assert!(Spec::read(&path, &[]).unwrap_err().to_string().contains("UTF-8"));
    std::fs::write(&path, vec![b'#'; LARGEST as usize + 1]).unwrap();
    assert!(Spec::read(&path, &[]).unwrap_err().to_string().contains("larger than"));
}
