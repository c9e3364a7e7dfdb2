//! `robustseg import`: from files of PyTorch to checkpoints and backbones.

mod common;

use std::fs;
use std::path::Path;

use candle_core::Device;
use common::{fails, files, refuses, run_in, succeeds};
use robustseg_files::sha256_of;
use robustseg_models::{
    Backbone, Checkpoint, ImportOrigin, Network, NetworkConfig, NetworkSpec, PspNetConfig, Upsampling,
};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

/// A tiny PSPNet of semseg: see `crates/published/tests/files/make.py`.
const FILE: &str = "pspnet.pth";

/// Its kind.
const KIND: [&str; 2] = ["--as", "semseg-pspnet"];

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("../published/tests/files");
    fs::copy(published.join("semseg-pspnet_tiny.pth"), folder.path().join(FILE)).unwrap();
    fs::write(folder.path().join("scenes.yaml"), MANIFEST).unwrap();
    folder
}

const MANIFEST: &str = "name: scenes\nfolder: scenes\nlayout:\n  synthetic: {height: 16, width: 16, seed: 1}\nclasses: \
    [{name: sky, colour: [1, 2, 3]}, {name: road, colour: [4, 5, 6]}, {name: tree, colour: [7, 8, 9]}]\nsplits: {train: \
    {count: 1}}\ncitation: c\nlicence: l\nobtain: o\n";

/// The tensors of its auxiliary head.
const AUXILIARY: [&str; 7] =
    ["0.weight", "1.bias", "1.running_mean", "1.running_var", "1.weight", "4.bias", "4.weight"];

fn import<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["import", file, "--out", "ours.safetensors"], more].concat()
}

#[test]
fn a_file_of_pytorch_becomes_a_checkpoint_with_classes_and_origin() {
    let folder = folder();
    let ours = folder.path().join("ours.safetensors");
    let with_classes = [KIND[0], KIND[1], "--manifest", "scenes.yaml"];
    succeeds(folder.path(), &import(FILE, &with_classes));
    let Checkpoint { network, origin } = Checkpoint::load(&ours, &Device::Cpu).unwrap();
    let settings =
        PspNetConfig { layers: [1, 2, 1, 1], width: 1, backbone: Backbone::ResnetV1c, auxiliary_loss: 0.0 };
    let config = NetworkConfig {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        upsampling: Upsampling::AlignCorners,
        ..NetworkConfig::new(settings, 3)
    };
    assert_eq!(network.config(), &config);
    let names: Vec<_> =
        origin.classes.unwrap().into_iter().map(|class| (class.name, class.colour[0])).collect();
    assert_eq!(names, [("sky".into(), 1), ("road".into(), 4), ("tree".into(), 7)]);
    let expected = ImportOrigin {
        file: FILE.into(),
        sha256: sha256_of(&folder.path().join(FILE)).unwrap(),
        kind: "semseg-pspnet".into(),
        taken: network.parameters().len(),
        left: AUXILIARY.map(|name| format!("module.aux.{name}")).to_vec(),
    };
    assert_eq!(origin.import, Some(expected));
    assert_eq!(origin.training, None);
    // Its own output is replaced, and the same import writes the same bytes.
    let before = fs::read(&ours).unwrap();
    succeeds(folder.path(), &import(FILE, &KIND));
    assert_ne!(fs::read(&ours).unwrap(), before, "without classes");
    succeeds(folder.path(), &import(FILE, &with_classes));
    assert_eq!(fs::read(&ours).unwrap(), before);
}

#[test]
fn the_summary_says_what_was_taken_and_left() {
    let folder = folder();
    let arguments = [KIND[0], KIND[1], "--num-classes", "3", "--json"];
    let output = run_in(folder.path(), &import(FILE, &arguments));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["network"], "pspnet");
    assert_eq!(summary["num_classes"], 3);
    assert_eq!(summary["settings"]["layers"], serde_json::json!([1, 2, 1, 1]));
    assert_eq!(summary["left"].as_array().unwrap().len(), AUXILIARY.len());
    let output = run_in(folder.path(), &import(FILE, &KIND));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "network: pspnet, ",
        "layers [1,2,1,1]",
        "backbone resnet_v1c",
        "upsampling align_corners",
        "classes: 3, whose names are unknown",
        "left 7: module.aux.0.weight, module.aux.1.bias",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn another_normalisation_than_the_kinds_is_taken() {
    let folder = folder();
    succeeds(folder.path(), &import(FILE, &[&KIND[..], &["--mean", "0,0,0", "--std", "1, 1, 1"]].concat()));
    let ours = folder.path().join("ours.safetensors");
    let network = Checkpoint::load(&ours, &Device::Cpu).unwrap().network;
    assert_eq!((network.config().mean, network.config().std), ([0.0; 3], [1.0; 3]));
    let wrong = |mean, std, part: &str| {
        refuses(folder.path(), &import(FILE, &[KIND[0], KIND[1], "--mean", mean, "--std", std]), &[part]);
    };
    wrong("0,0,0", "1,1,0", "--std must be positive");
    wrong("0,0", "1,1,1", "expected three numbers");
    refuses(folder.path(), &import(FILE, &[KIND[0], KIND[1], "--mean", "0,0,0"]), &["--std"]);
}

#[test]
fn a_backbone_starts_a_training() {
    let folder = folder();
    let config = NetworkConfig::new(PspNetConfig { layers: [1; 4], width: 1, ..PspNetConfig::default() }, 7);
    let network = Network::new(&config, 3, &Device::Cpu).unwrap();
    network.save(&folder.path().join("network.safetensors")).unwrap();
    change(&folder.path().join("network.safetensors"), |_| {});
    let arguments = import("network.safetensors", &["--as", "timm-resnet"]);
    let output = run_in(folder.path(), &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let spec =
        text.lines().find_map(|line| line.strip_prefix("in a spec: ")).unwrap_or_else(|| panic!("{text}"));
    let spec: serde_json::Value = serde_json::from_str(spec.strip_prefix("model: ").unwrap()).unwrap();
    assert_eq!((&spec["width"], &spec["pretrained"]), (&1.into(), &"ours.safetensors".into()));
    let spec: NetworkSpec = serde_json::from_value(spec).unwrap();
    let other = Network::new(&spec.network(7, Vec::new()), 4, &Device::Cpu).unwrap();
    let taken = other.load_backbone(&folder.path().join("ours.safetensors")).unwrap();
    assert!(taken.left.is_empty());
    let weight = |network: &Network| {
        let weight = network.parameters()["backbone.stages.3.blocks.0.conv2.weight"].var.as_detached_tensor();
        weight.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(weight(&other), weight(&network));
    refuses(
        folder.path(),
        &import(FILE, &["--as", "timm-resnet", "--num-classes", "3"]),
        &["timm-resnet is a backbone, which has no classes"],
    );
}

#[test]
fn a_missing_or_wrong_kind_gets_the_nearest_one() {
    let folder = folder();
    refuses(
        folder.path(),
        &import(FILE, &[]),
        &["--as is missing", "module.aux.0.weight", "the nearest kind is semseg-pspnet, which knows 100 %"],
    );
    refuses(
        folder.path(),
        &import(FILE, &["--as", "pspnet"]),
        &["--as pspnet is not known, only", "torchvision-fcn", "the nearest kind is semseg-pspnet"],
    );
}

#[test]
fn all_that_does_not_fit_is_listed_with_shapes() {
    let folder = folder();
    // A backbone without one tensor, with a further one, and with one of another shape.
    let path = folder.path().join("other.safetensors");
    Network::new(&common::tiny(), 1, &Device::Cpu).unwrap().save(&path).unwrap();
    change(&path, |tensors| {
        tensors
            .retain(|(name, _, _)| !["backbone.norm.bias", "backbone.norm.running_mean"].contains(&&**name));
        tensors.push(("backbone.norm.further".into(), vec![2], vec![0.0; 2]));
        tensors.push(("backbone.norm.bias".into(), vec![5], vec![0.0; 5]));
    });
    fails(
        folder.path(),
        &import("other.safetensors", &["--as", "timm-resnet"]),
        3,
        &[
            "1 tensor missing: backbone.norm.running_mean [128]",
            "1 tensor unexpected: backbone.norm.further [2]",
            "1 tensor of another shape: backbone.norm.bias [5] instead of [128]",
        ],
    );
}

#[test]
fn another_number_of_classes_is_refused() {
    let folder = folder();
    let arguments = import(FILE, &[KIND[0], KIND[1], "--num-classes", "21"]);
    refuses(folder.path(), &arguments, &["has 3 classes, but 21 are expected, as --num-classes says"]);
    let more = MANIFEST.replace("[{name: sky", "[{name: sun, colour: [0, 0, 0]}, {name: sky");
    fs::write(folder.path().join("scenes.yaml"), more).unwrap();
    let arguments = import(FILE, &[KIND[0], KIND[1], "--manifest", "scenes.yaml"]);
    fails(folder.path(), &arguments, 3, &["has 3 classes, but the manifest scenes.yaml has 4"]);
}

#[test]
fn nothing_is_overwritten_but_an_earlier_import() {
    let folder = folder();
    let into = |out: &'static str| vec!["import", FILE, KIND[0], KIND[1], "--out", out];
    refuses(folder.path(), &into(FILE), &["is read by this command"]);
    refuses(folder.path(), &into("scenes.yaml"), &["is there, and this command did not write it"]);
    refuses(folder.path(), &into("none/ours.safetensors"), &["there is no folder none"]);
    let checkpoint = common::checkpoint(folder.path());
    refuses(folder.path(), &into("model.safetensors"), &["this command did not write it"]);
    let again = import("model.safetensors", &KIND);
    fails(folder.path(), &again, 3, &["is already a checkpoint of robustseg"]);
    assert!(checkpoint.exists());
}

#[test]
fn hostile_broken_and_missing_files_are_refused() {
    let folder = folder();
    let hostile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pytorch/tests/files/hostile_legacy.pth");
    fs::copy(hostile, folder.path().join("hostile.pth")).unwrap();
    let whole = fs::read(folder.path().join(FILE)).unwrap();
    fs::write(folder.path().join("half.pth"), &whole[..whole.len() / 2]).unwrap();
    fs::write(folder.path().join("text.pth"), "text").unwrap();
    for (file, part) in [
        ("hostile.pth", "names the function posix.system"),
        ("half.pth", "truncated"),
        ("text.pth", "is not a complete safetensors file"),
        ("none.pth", "no such file"),
    ] {
        let before = files(folder.path());
        fails(folder.path(), &import(file, &KIND), 3, &[file, part]);
        assert!(files(folder.path()) == before, "{file}");
    }
}

#[test]
fn numbers_that_are_no_weights_are_refused_by_the_name_of_their_tensor() {
    let folder = folder();
    let path = folder.path().join("nan.safetensors");
    let network = Network::new(&common::tiny(), 1, &Device::Cpu).unwrap();
    network.save(&path).unwrap();
    change(&path, |tensors| {
        for (name, _, numbers) in tensors {
            if name == "backbone.norm.bias" {
                numbers[3] = f32::NAN;
            }
        }
    });
    let arguments = import("nan.safetensors", &["--as", "timm-resnet"]);
    fails(folder.path(), &arguments, 3, &["its tensor backbone.norm.bias has numbers that are not finite"]);
    assert!(!folder.path().join("ours.safetensors").exists());
}

/// A tensor: name, shape, numbers.
type Named = (String, Vec<usize>, Vec<f32>);

/// Changes the tensors of the safetensors file at `path`, and drops its metadata.
fn change(path: &Path, change: impl FnOnce(&mut Vec<Named>)) {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers =
        |data: &[u8]| data.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
    let named =
        |(name, tensor): (String, TensorView<'_>)| (name, tensor.shape().to_vec(), numbers(tensor.data()));
    let mut tensors: Vec<Named> = file.tensors().into_iter().map(named).collect();
    change(&mut tensors);
    let bytes: Vec<_> = tensors
        .into_iter()
        .map(|(name, shape, numbers)| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (name, TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}
