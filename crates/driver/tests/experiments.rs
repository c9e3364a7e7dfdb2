//! Every spec in `experiments/` parses and resolves, and the schema next to them is the program's.

use std::path::{Path, PathBuf};

use robustseg_datasets::Manifest;
use robustseg_driver::spec::{LayerSource, Layered, Spec, Sweep};
use robustseg_training::MethodConfig;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments")
}

/// The YAML files that are no sweeps: those of experiments, which have a name, or those that
/// experiments build on.
fn files(named: bool) -> Vec<PathBuf> {
    yaml(|text| !is_sweep(text) && text.contains("\nname: ") == named)
}

fn is_sweep(text: &str) -> bool {
    text.contains("\naxes:")
}

/// The YAML files with a fitting text.
fn yaml(fits: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|path| fits(&std::fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    files
}

fn specs() -> Vec<PathBuf> {
    files(true)
}

#[test]
fn every_spec_reads_and_names_a_manifest_with_its_splits() {
    let specs = specs();
    assert!(specs.len() >= 17, "{specs:?}");
    for path in specs {
        let spec = Spec::read(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(path.file_stem().unwrap().to_string_lossy(), spec.name);
        let manifest = Manifest::load(&spec.data.manifest).unwrap_or_else(|error| panic!("{error}"));
        for split in [&spec.data.train_split, &spec.data.validation_split] {
            let known = manifest.split_names().any(|name| name == split);
            assert!(known, "{}: no split {split} in {}", path.display(), spec.data.manifest.display());
        }
        let again = Spec::parse(&spec.to_yaml().unwrap(), &[]).unwrap();
        assert_eq!(again, spec, "{}", path.display());
    }
}

#[test]
fn every_file_without_a_name_is_the_base_of_a_spec() {
    let specs = specs().into_iter().map(|path| Layered::read(&path, &[]).unwrap());
    let used: Vec<PathBuf> = specs
        .flat_map(|layered| layered.layers)
        .filter_map(|layer| match layer.source {
            LayerSource::File(path) => path.file_name().map(PathBuf::from),
            LayerSource::Override(_) => None,
        })
        .collect();
    let bases = files(false);
    assert!(bases.len() >= 4, "{bases:?}");
    for base in bases {
        let name = PathBuf::from(base.file_name().unwrap());
        assert!(used.contains(&name), "no spec builds on {}", base.display());
    }
}

#[test]
fn every_specs_head_points_to_the_schema_and_says_paper_command_and_cost() {
    for path in specs() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().next(), Some("# yaml-language-server: $schema=spec.schema.json"));
        let name = path.file_name().unwrap().to_string_lossy();
        for part in
            ["# Paper: ", &format!("# Command: cargo experiment experiments/{name}\n"), "# Expected cost: "]
        {
            assert!(text.contains(part), "{name} lacks {part:?}");
        }
    }
}

#[test]
fn every_sweep_reads_and_its_head_says_paper_command_and_cost() {
    let sweeps = yaml(is_sweep);
    assert!(sweeps.len() >= 2, "{sweeps:?}");
    for path in sweeps {
        let sweep = Sweep::read(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(path.file_stem().unwrap().to_string_lossy(), sweep.name);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().next(), Some("# yaml-language-server: $schema=sweep.schema.json"));
        let command = format!("# Command: robustseg sweep experiments/{}.yaml\n", sweep.name);
        for part in ["# Paper: ", &command, "# Expected cost: "] {
            assert!(text.contains(part), "{} lacks {part:?}", sweep.name);
        }
        let schema = std::fs::read_to_string(folder().join("sweep.schema.json")).unwrap();
        let hint = "renew it: cargo run -p robustseg-driver -- schema sweep > experiments/sweep.schema.json";
        let now = serde_json::to_string_pretty(&Sweep::schema()).unwrap() + "\n";
        assert!(schema == now, "experiments/sweep.schema.json is out of date; {hint}");
    }
}

#[test]
fn the_schema_is_up_to_date() {
    let committed = std::fs::read_to_string(folder().join("spec.schema.json")).unwrap();
    let hint = "renew it: cargo run -p robustseg-driver -- schema > experiments/spec.schema.json";
    assert!(committed == Spec::schema().unwrap(), "experiments/spec.schema.json is out of date; {hint}");
}

#[test]
fn the_schema_of_manifests_is_up_to_date_and_each_manifest_points_to_it() {
    let folder = folder().join("../data-manifests");
    let committed = std::fs::read_to_string(folder.join("manifest.schema.json")).unwrap();
    let schema = serde_json::to_string_pretty(&Manifest::schema()).unwrap() + "\n";
    let hint =
        "renew it: cargo run -p robustseg-driver -- schema manifest > data-manifests/manifest.schema.json";
    assert!(committed == schema, "data-manifests/manifest.schema.json is out of date; {hint}");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let head = "# yaml-language-server: $schema=manifest.schema.json\n";
            assert!(text.starts_with(head), "{}", path.display());
        }
    }
}

#[test]
fn the_five_of_a_data_set_differ_in_the_method_alone() {
    for data in ["voc", "cityscapes", "camvid"] {
        let read = |method: &str| {
            let path = folder().join(format!("{data}_{method}.yaml"));
            Spec::read(&path, &[]).unwrap_or_else(|error| panic!("{error}"))
        };
        let basic = read("basic");
        let names = ["basic", "fgsm", "random_fgsm", "bim", "fastnewton"];
        for (name, method) in names.into_iter().zip(MethodConfig::paper()) {
            let mut spec = read(name);
            assert_eq!(spec.training.method, method, "{data}_{name}");
            spec.training.method = basic.training.method.clone();
            spec.name.clone_from(&basic.name);
            assert_eq!(spec, basic, "{data}_{name}");
        }
    }
}

#[test]
fn the_rivals_on_camvid_differ_from_basic_in_the_method_alone() {
    let read = |name: &str| {
        let path = folder().join(format!("camvid_{name}.yaml"));
        Spec::read(&path, &[]).unwrap_or_else(|error| panic!("{error}"))
    };
    let basic = read("basic");
    let paper = MethodConfig::paper();
    // A new method needs no spec, and the reference method is for small images.
    let has_spec = |method: &MethodConfig| folder().join(format!("camvid_{}.yaml", method.name())).exists();
    let rivals: Vec<MethodConfig> = MethodConfig::all()
        .into_iter()
        .filter(|method| !paper.contains(method) && has_spec(method))
        .collect();
    assert!(rivals.len() >= 8, "only {} specs", rivals.len());
    for method in rivals {
        let mut spec = read(method.name());
        assert_eq!(spec.training.method, method, "camvid_{}", method.name());
        spec.training.method = basic.training.method.clone();
        spec.name.clone_from(&basic.name);
        // The same number of updates, rounded up to a whole epoch.
        assert_eq!(spec.training.epochs, basic.training.epochs.div_ceil(method.start().updates()));
        spec.training.epochs = basic.training.epochs;
        assert_eq!(spec, basic, "camvid_{}", method.name());
    }
}

#[test]
fn the_variants_that_attack_every_sample_differ_in_that_and_the_method_alone() {
    for (prefix, at_least) in [("camvid_all_", 7), ("ccp_", 2)] {
        let of_basic = if prefix == "ccp_" { "ccp_basic.yaml" } else { "camvid_basic.yaml" };
        let basic = Spec::read(&folder().join(of_basic), &[]).unwrap();
        let named = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(prefix);
        let variants: Vec<PathBuf> = specs().into_iter().filter(named).collect();
        assert!(variants.len() >= at_least, "{variants:?}");
        for path in variants {
            let mut spec = Spec::read(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(spec.training.adversarial_probability, Some(1.0), "{}", path.display());
            spec.training.method = basic.training.method.clone();
            spec.training.adversarial_probability = basic.training.adversarial_probability;
            spec.name.clone_from(&basic.name);
            assert_eq!(spec, basic, "{}", path.display());
        }
    }
}
