use super::*;
use robustseg_attacks::{AttackConfig, Bim};
use robustseg_models::PspNetConfig;
use robustseg_training::Basic;

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
    assert_eq!(
        spec.model.architecture,
        PspNetConfig { layers: [3, 4, 6, 3], width: 64, ..PspNetConfig::default() }.into()
    );
    let mut training = TrainingConfig::new(Basic {}, 2);
    training.resolve();
    assert_eq!(spec.training, training);
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
fn share_and_statistics_are_the_methods_and_the_resolved_spec_states_them() {
    let resolved = |overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Spec::parse(SMALL, &overrides).unwrap().to_yaml().unwrap()
    };
    for (method, share, statistics) in
        [("n_fgsm", "1.0", "batch"), ("fgsm_ckpt", "1.0", "running"), ("bim", "0.5", "running")]
    {
        let yaml = resolved(&[&format!("training.method={method}")]);
        assert!(yaml.contains(&format!("adversarial_probability: {share}\n")), "{yaml}");
        assert!(yaml.contains(&format!("crafting_statistics: {statistics}\n")), "{yaml}");
    }
    let given = ["training.method=n_fgsm", "training.adversarial_probability=0.25"];
    assert!(resolved(&given).contains("adversarial_probability: 0.25\n"));
}

#[test]
fn augmentation_has_a_preset_and_its_faults_have_places() {
    let read = |text: &str| Spec::parse(SMALL, &[format!("training.augmentation={text}")]);
    let semseg = robustseg_datasets::AugmentationConfig::semseg();
    assert_eq!(read("semseg").unwrap().training.augmentation, semseg);
    let spec = read("{preset: semseg, crop: 64}").unwrap();
    assert!(spec.to_yaml().unwrap().contains("rotation_probability: 0.5\n"), "every setting is stated");
    assert_eq!(spec.training.augmentation.crop, 64.into());
    let wide = read("{crop: [64, 96]}").unwrap();
    assert_eq!(wide.training.augmentation.crop, [64, 96].into());
    assert!(wide.to_yaml().unwrap().contains("crop:\n    - 64\n    - 96\n"));
    for (crop, part) in
        [("[64]", "1 value"), ("[64, 7]", "64 x 7"), ("[8, 9, 10]", "3 values"), ("wide", "height")]
    {
        let found = read(&format!("{{crop: {crop}}}")).unwrap_err().to_string();
        assert!(found.starts_with("training.augmentation") && found.contains(part), "{found}");
    }
    assert!(read("pspnet").unwrap_err().to_string().contains("did you mean") || read("pspnet").is_err());
    let text = "name: small\ndata: {manifest: m}\ntraining:\n  method: basic\n  epochs: 1\n  augmentation:\n    crop: 64\n    blurr: true\n";
    let found = fault(text, &[]);
    assert_eq!(found.place, Some(at(8, 5)));
    assert_eq!(found.to_string(), "training.augmentation: unknown key `blurr`; did you mean `blur`?");
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
        ("model={layers: [1, 1, 0, 1]}", "model.layers"),
        ("model.pspnet.width=0", "model.pspnet.width"),
        ("model={pspnet: {width: 0}}", "model.pspnet.width"),
        ("model.std=[0.5, 0.0, 0.5]", "model.std"),
        ("name=../up", "name"),
        ("data.train_split=''", "data.train_split"),
        ("evaluation.curves=[{fgsm: {epsilons: [0, 4]}}]", "evaluation.curves.0.fgsm.epsilons.1"),
        ("evaluation.curves=[{bim: {alpha: -1}}]", "evaluation.curves.0.bim.alpha"),
        ("training.method={fast_newton: {max_epsilon: 9}}", "training.method.fast_newton.max_epsilon"),
        ("training.method={pixel_newton: {max_epsilon: 9}}", "training.method.pixel_newton.max_epsilon"),
        ("training.method={n_fgsm: {k: -2}}", "training.method.n_fgsm.k"),
        ("training.warm_up_epochs=99999", "training.warm_up_epochs"),
        ("training.average={decay: 1}", "training.average.decay"),
        ("training.optimiser={adamw: {beta2: 1}}", "training.optimiser.adamw.beta2"),
        ("training.method={noisy_newton: {noise: -1}}", "training.method.noisy_newton.noise"),
        ("training.method={noisy_newton: {residual: -1}}", "training.method.noisy_newton.residual"),
        ("evaluation.weights=average", "evaluation.weights"),
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
fn a_network_may_be_named_and_the_resolved_spec_is_the_same() {
    let yaml =
        |model: &str| Spec::parse(&format!("{SMALL}model: {model}\n"), &[]).unwrap().to_yaml().unwrap();
    let (short, long) =
        ("{width: 8, upsampling: align_corners}", "{pspnet: {width: 8}, upsampling: align_corners}");
    assert_eq!(yaml(short), yaml(long));
    assert_eq!(yaml("{}"), Spec::parse(SMALL, &[]).unwrap().to_yaml().unwrap());
    let found = fault(SMALL, &["model.unet={}"]).to_string();
    assert!(found.starts_with("model: unknown key `unet`; "), "{found}");
    let found = fault(&(SMALL.to_owned() + "model:\n  pspnet:\n    widht: 8\n"), &[]);
    assert_eq!(found.to_string(), "model.pspnet: unknown key `widht`; did you mean `width`?");
    assert_eq!(found.place, Some(at(6, 5)));
    let found = fault(SMALL, &["model.pspnet.width=8", "model.width=8"]).to_string();
    assert!(found.starts_with("model: `layers` and `width` are next to `pspnet`"), "{found}");
}

#[test]
fn an_argument_is_text_where_text_is_wanted() {
    for text in [
        "x #2",
        "# 2",
        "0042",
        "true",
        "null",
        "~",
        "1e3",
        ".5",
        "a: b",
        "- a",
        "*a",
        "&a",
        "!a",
        "@",
        "%",
        "`",
        "[",
        "{",
        "[1, 2]",
        "{a: 1}",
        " x ",
        "it's",
        "say \"x\"",
        "a\\b",
        "x: #2",
        "|",
        ">",
        "?",
        "é ü 日本",
        "a, b",
        "2026-01-01",
    ] {
        let spec = Spec::parse(SMALL, &[format!("data.manifest={text}"), format!("data.train_split={text}")]);
        let spec = spec.unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(spec.data.manifest, Path::new(text));
        assert_eq!(spec.data.train_split, text);
        let again = Spec::parse(&spec.to_yaml().unwrap(), &[]).unwrap();
        assert_eq!(again, spec, "{text}");
    }
    for name in ["0042", "true", "null", "1e3"] {
        assert_eq!(Spec::parse(SMALL, &[format!("name={name}")]).unwrap().name, name);
    }
    let quoted =
        Spec::parse(SMALL, &["data.manifest='x #2'".into(), "data.train_split=\"0042\"".into()]).unwrap();
    assert_eq!((quoted.data.manifest.to_str(), quoted.data.train_split.as_str()), (Some("x #2"), "0042"));
}

#[test]
fn an_argument_is_yaml_without_comments_where_something_else_is_wanted() {
    let spec = |overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Spec::parse(SMALL, &overrides).unwrap_or_else(|fault| panic!("{overrides:?}: {fault}"))
    };
    assert_eq!(spec(&["training.epochs= 7 "]).training.epochs, 7);
    let deep = PspNetConfig { layers: [1, 2, 3, 4], width: 64, ..PspNetConfig::default() };
    assert_eq!(spec(&["model.layers=[1, 2, 3, 4]"]).model.architecture, deep.into());
    assert_eq!(spec(&["data={manifest: m #2.yaml}"]).data.manifest, Path::new("m #2.yaml"));
    assert_eq!(spec(&["data.root=a", "data.root="]).data.root, None);
    assert_eq!(spec(&["model.pretrained=x", "model.pretrained=null"]).model.pretrained, None);
    let fgsm = spec(&["training.method={fgsm: {epsilon: 0.02}}"]);
    assert_eq!(spec(&["training.method=fgsm", "training.method.fgsm.epsilon=0.02"]), fgsm);
    assert_eq!(spec(&["training.method={fgsm: {}}", "training.method.fgsm.epsilon=0.02"]), fgsm);
    assert_eq!(spec(&["training.method.fgsm=", "training.method.fgsm.epsilon=0.02"]), fgsm);
    for (argument, part) in [
        ("training.epochs=3 #2", "expected a whole number, 0 or more, found string \"3 #2\""),
        ("training.epochs=", "expected a whole number, 0 or more, found nothing"),
        ("evaluation.curves=[{fgsm: {}}", "evaluation.curves: "),
        ("evaluation.curves=5", "expected a list, found integer `5`"),
        ("name=", "name: "),
        ("data.manifest=", "data.manifest: is empty"),
    ] {
        let found = fault(SMALL, &[argument]);
        assert_eq!(found.place, Some(Place::Override(argument.into())));
        assert!(found.to_string().contains(part), "{argument}: {found}");
    }
}

#[test]
fn a_fraction_is_a_number_wherever_one_is_wanted() {
    let text = "name: small\ndata: {manifest: m.yaml}\nmodel: {mean: [1/2, 0.5, 0.5]}\ntraining:\n  epochs: 2
  method: {bim: {epsilon: 8/255, alpha: 2 / 255}}\n  monitor: {epsilon: 8/255}\nevaluation:\n  curves:
    - fgsm: {epsilons: [0, 1/255, '2/255']}\n";
    let spec = Spec::parse(text, &["training.method.bim.alpha=1/255".into()]).unwrap();
    let bim = AttackConfig::new(Bim { alpha: 1.0 / 255.0, steps: 3 }, 8.0 / 255.0);
    assert_eq!(spec.training.method, bim.into());
    assert_eq!(spec.evaluation.curves[0].epsilons(), [0.0, 1.0 / 255.0, 2.0 / 255.0]);
    assert_eq!(spec.model.mean, [0.5; 3]);
    assert_eq!(Spec::parse(&spec.to_yaml().unwrap(), &[]).unwrap(), spec);
    for argument in ["training.method={fgsm: {epsilon: 8/0}}", "training.method={fgsm: {epsilon: 8/x}}"] {
        assert!(fault(SMALL, &[argument]).to_string().contains("epsilon: expected a number, found"));
    }
    assert!(fault(SMALL, &["training.epochs=4/2"]).to_string().contains("expected a whole number"));
}

#[test]
fn the_schema_allows_fractions_where_numbers_are() {
    let schema: serde_json::Value = serde_json::from_str(&Spec::schema().unwrap()).unwrap();
    let rate = &schema["$defs"]["TrainingConfig"]["properties"]["learning_rate"];
    assert_eq!(rate["type"], serde_json::json!(["number", "string"]), "{rate}");
    let epochs = &schema["$defs"]["TrainingConfig"]["properties"]["epochs"];
    assert_eq!(epochs["type"], "integer", "{epochs}");
}

#[test]
fn faults_name_no_types_of_rust() {
    for (argument, part) in [
        ("training.epochs=ten", "expected a whole number, 0 or more, found string \"ten\""),
        ("training.momentum=ten", "expected a number, found string \"ten\""),
        ("model.layers=[1, 2]", "expected a list of 4, found 2 values"),
        ("training={}", "key `method` is missing"),
        ("data=5", "expected a map of keys and values, found integer `5`"),
    ] {
        let found = fault(SMALL, &[argument]).to_string();
        assert!(found.contains(part), "{argument}: {found}");
    }
    let found = fault(&SMALL.replace("small", "42"), &[]).to_string();
    assert_eq!(found, "name: expected text, found integer `42`; put it in quotes");
    let found = fault(&SMALL.replace("m.yaml", "[a]"), &[]).to_string();
    assert_eq!(found, "data.manifest: expected a path, found a list");
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
fn a_spec_builds_on_its_bases() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(file(name).parent().unwrap()).unwrap();
        std::fs::write(file(name), text).unwrap();
    };
    write(
        "common/low.yaml",
        "data: {manifest: m.yaml, root: data}\ntraining:\n  epochs: 9\n  method: {bim: {epsilon: 0.02, steps: 7}}\n\
         evaluation:\n  curves:\n    - fgsm: {epsilons: [0, 0.01]}\n    - bim: {}\n",
    );
    write(
        "middle.yaml",
        "name: middle\nbase: common/low.yaml\ntraining: {method: {fgsm: {epsilon: 0.01}}}\n",
    );
    write(
        "top.yaml",
        "base: middle.yaml\nname: top\ndata: {root: mine}\nevaluation:\n  curves: [fgsm: {}]\n",
    );
    let read = |name: &str, overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Layered::read(&file(name), &overrides)
    };
    let Layered { spec, layers } = read("top.yaml", &[]).unwrap();
    assert_eq!(spec.name, "top");
    assert_eq!(spec.training.epochs, 9);
    assert_eq!(serde_json::to_string(&spec.training.method).unwrap(), r#"{"fgsm":{"epsilon":0.01}}"#);
    assert_eq!(spec.evaluation.curves.len(), 1, "a list replaces a list");
    // A path in a file starts at the folder of that file.
    assert_eq!(spec.data.manifest, file("common/m.yaml"));
    assert_eq!(spec.data.root, Some(file("mine")));
    let told: Vec<_> = layers.iter().map(|layer| layer.changes.len()).collect();
    assert_eq!(told, [0, 1, 3], "{layers:?}");
    // What a lower layer said of a choice holds where an upper one comes back to it.
    let spec = read("top.yaml", &["training.method.bim.alpha=0.5", "training.epochs=3"]).unwrap().spec;
    let method = serde_json::to_value(&spec.training.method).unwrap();
    assert_eq!(method, serde_json::json!({"bim": {"epsilon": 0.02, "alpha": 0.5, "steps": 7}}));
    // The resolved spec stands alone.
    assert_eq!(Spec::parse(&spec.to_yaml().unwrap(), &[]).unwrap(), spec);

    write("two.yaml", "name: two\nbase: [common/low.yaml, more.yaml]\n");
    write("more.yaml", "training:\n  epochs: many\n");
    let error = read("two.yaml", &[]).unwrap_err().to_string();
    let at = format!(
        "{}:2:11, a base of {}: training.epochs: ",
        file("more.yaml").display(),
        file("two.yaml").display()
    );
    assert!(error.contains(&at), "{error}");
    write("more.yaml", "training:\n  epochs: 4\n  momentum: 2\n");
    let error = read("two.yaml", &[]).unwrap_err().to_string();
    assert!(error.contains("more.yaml:3:13, a base of "), "a range has its place too: {error}");
}

#[test]
fn circles_and_missing_bases_are_refused_at_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let refused = |name: &str| Spec::read(&file(name), &[]).unwrap_err().to_string();
    std::fs::write(file("a.yaml"), "name: a\nbase: b.yaml\n").unwrap();
    std::fs::write(file("b.yaml"), "training: {epochs: 1}\nbase: ./a.yaml\n").unwrap();
    let error = refused("a.yaml");
    assert!(error.contains("b.yaml:2:7: base: the specs are each other's bases: "), "{error}");
    assert!(error.matches("a.yaml").count() >= 2, "{error}");
    std::fs::write(file("b.yaml"), "base: none.yaml\n").unwrap();
    assert!(refused("a.yaml").contains("b.yaml:1:7: base: "), "{}", refused("a.yaml"));
    std::fs::write(file("b.yaml"), "training: {epochs: 1}\n  broken\n").unwrap();
    assert!(refused("a.yaml").contains("b.yaml:"), "{}", refused("a.yaml"));
    for (text, place) in [("base: 3\n", "a.yaml:1:7: base: "), ("base:\n  - []\n", "a.yaml:2:5: base: ")] {
        std::fs::write(file("a.yaml"), text).unwrap();
        assert!(refused("a.yaml").contains(place), "{}", refused("a.yaml"));
    }
    // A pile of files ends, and the name of a base is not inherited.
    for number in 0..20 {
        std::fs::write(file(&format!("{number}.yaml")), format!("base: {}.yaml\nname: x\n", number + 1))
            .unwrap();
    }
    assert!(refused("0.yaml").contains("more than 16 layers"), "{}", refused("0.yaml"));
    std::fs::write(file("b.yaml"), SMALL).unwrap();
    std::fs::write(file("a.yaml"), "base: b.yaml\n").unwrap();
    assert!(refused("a.yaml").contains("key `name` is missing"), "{}", refused("a.yaml"));
    assert!(fault(SMALL, &["base=b.yaml"]).to_string().contains("read before"));
    assert!(fault(&(SMALL.to_owned() + "base: b.yaml\n"), &[]).to_string().contains("in a file"));
}

#[test]
fn invalid_spec_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spec.yaml");
    assert!(Spec::read(&path, &[]).unwrap_err().to_string().contains("no such file"));
    std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    assert!(Spec::read(&path, &[]).unwrap_err().to_string().contains("UTF-8"));
    std::fs::write(&path, vec![b'#'; LARGEST as usize + 1]).unwrap();
    assert!(Spec::read(&path, &[]).unwrap_err().to_string().contains("larger than"));
}

#[test]
fn an_average_is_evaluated_unless_the_spec_says_otherwise() {
    let weights = |arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let spec = Spec::parse(SMALL, &arguments).unwrap();
        assert_eq!(Spec::parse(&spec.to_yaml().unwrap(), &[]).unwrap(), spec);
        spec.evaluation.weights.name()
    };
    assert_eq!(weights(&[]), "last");
    assert_eq!(weights(&["training.average={}"]), "average");
    assert_eq!(weights(&["training.average={decay: 0.9}", "evaluation.weights=last"]), "last");
    // A setting that is off is not in the resolved spec, so that states of earlier runs still fit.
    let resolved = Spec::parse(SMALL, &[]).unwrap().to_yaml().unwrap();
    for key in [
        "optimiser",
        "schedule",
        "warm_up_epochs",
        "average",
        "from",
        "loss",
        "accumulate",
        "fit_memory",
        "clip_gradient",
        "recompute",
    ] {
        assert!(!resolved.contains(key), "{key}");
    }
    let both = ["training.from=a.safetensors", "model.pretrained=b.safetensors"];
    assert_eq!(fault(SMALL, &both).path.join("."), "training.from");
}

#[test]
fn the_manifest_and_the_spec_of_the_page_about_own_data_are_read() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/own_data.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [manifest, spec] = blocks[..] else { panic!("{blocks:?}") };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("streets.yaml");
    std::fs::write(&path, manifest).unwrap();
    assert_eq!(robustseg_datasets::Manifest::load(&path).unwrap().classes.len(), 3);
    assert_eq!(Spec::parse(spec, &[]).unwrap().evaluation.curves.len(), 2);
}
