//! Backbones in the layouts of published files: other programs' prefixes and stems, and weights
//! that state how images are normalised.

use candle_core::{Device, Tensor};
use robustseg_models::{Backbone, FcnConfig, Network, NetworkConfig, Part, PspNetConfig};
use std::collections::HashMap;
use std::path::PathBuf;

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

fn network(backbone: Backbone, seed: u64) -> Network {
    let config = FcnConfig { layers: [1, 2, 1, 1], width: 4, backbone, ..FcnConfig::default() };
    let config = NetworkConfig { mean: MEAN, std: STD, ..NetworkConfig::new(config, 3) };
    Network::new(&config, seed, &Device::Cpu).unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("weights.safetensors")
    }

    /// The backbone of `network` without the name of the part.
    fn backbone(&self, network: &Network) -> HashMap<String, Tensor> {
        network.save(&self.file()).unwrap();
        let all = candle_core::safetensors::load(self.file(), &Device::Cpu).unwrap();
        let all = all.into_iter();
        all.filter_map(|(name, tensor)| Some((name.strip_prefix("backbone.")?.to_owned(), tensor))).collect()
    }

    fn write(&self, tensors: impl IntoIterator<Item = (String, Tensor)>) {
        let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
        candle_core::safetensors::save(&tensors, self.file()).unwrap();
    }
}

fn weights(network: &Network) -> Vec<Vec<f32>> {
    let backbone = network.parameters().values().filter(|parameter| parameter.part == Part::Backbone);
    backbone.map(|parameter| parameter.var.flatten_all().unwrap().to_vec1().unwrap()).collect()
}

fn prefixed(tensors: &HashMap<String, Tensor>, prefix: &str) -> Vec<(String, Tensor)> {
    tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
}

#[test]
fn known_prefixes_are_taken_off() {
    let folder = Folder::new();
    for backbone in [Backbone::ResnetV1, Backbone::ResnetV1c, Backbone::ResnetV2] {
        let source = network(backbone, 1);
        let tensors = folder.backbone(&source);
        for prefix in ["module.", "model.", "backbone.", "module.backbone.", "_orig_mod.", "encoder."] {
            folder.write(prefixed(&tensors, prefix));
            let started = network(backbone, 2);
            assert!(started.load_backbone(&folder.file()).unwrap().left.is_empty(), "{prefix}");
            assert_eq!(weights(&started), weights(&source), "{prefix}");
        }
        // A layer more is refused with a prefix as without.
        let mut more = prefixed(&tensors, "module.");
        let another = more[0].1.clone();
        let layer = if backbone == Backbone::ResnetV2 { "stages.3.blocks.1" } else { "layer4.1" };
        more.push((format!("module.{layer}.conv1.weight"), another));
        folder.write(more);
        let error = network(backbone, 2).load_backbone(&folder.file()).unwrap_err().to_string();
        assert!(error.contains(&format!("module.{layer}.conv1.weight has no place in it")), "{error}");
    }
}

/// The layout of a checkpoint of the robustness library: the network, the normaliser before it, and
/// both once more in the attacker.
fn robust(tensors: &HashMap<String, Tensor>, mean: [f32; 3], std: [f32; 3]) -> Vec<(String, Tensor)> {
    let mut all = prefixed(tensors, "module.model.");
    all.extend(prefixed(tensors, "module.attacker.model."));
    for (name, values) in [("new_mean", mean), ("new_std", std)] {
        let values = Tensor::from_vec(values.to_vec(), (3, 1, 1), &Device::Cpu).unwrap();
        all.push((format!("module.normalizer.{name}"), values.clone()));
        all.push((format!("module.attacker.normalize.{name}"), values));
    }
    all
}

#[test]
fn robust_weights_are_taken_if_they_expect_the_networks_normalisation() {
    let (folder, source) = (Folder::new(), network(Backbone::ResnetV1, 1));
    let tensors = folder.backbone(&source);
    let attacker = tensors.len();
    folder.write(robust(&tensors, MEAN, STD));
    let started = network(Backbone::ResnetV1, 2);
    let taken = started.load_backbone(&folder.file()).unwrap();
    assert_eq!((taken.tensors, taken.left.len()), (attacker, attacker + 4));
    assert_eq!(weights(&started), weights(&source));

    for (mean, std) in [([0.5; 3], STD), (MEAN, [1.0, 1.0, 0.5])] {
        folder.write(robust(&tensors, mean, std));
        let before = weights(&started);
        let error = started.load_backbone(&folder.file()).unwrap_err().to_string();
        assert!(error.contains(&format!("with mean {mean:?} and std {std:?}")), "{error}");
        assert!(error.contains("set the network's `mean` and `std`"), "{error}");
        assert_eq!(weights(&started), before);
    }
}

/// Names of a deep stem as timm's `resnet50s` has them.
fn timms(name: &str) -> String {
    let (layer, rest) = name.split_once('.').unwrap();
    let layer = match layer {
        "conv1" => "conv1.0",
        "bn1" => "conv1.1",
        "conv2" => "conv1.3",
        "bn2" => "conv1.4",
        "conv3" => "conv1.6",
        "bn3" => "bn1",
        other => other,
    };
    format!("{layer}.{rest}")
}

#[test]
fn a_deep_stem_has_semsegs_or_timms_names() {
    let (folder, source) = (Folder::new(), network(Backbone::ResnetV1c, 1));
    let tensors = folder.backbone(&source);
    let named: HashMap<_, _> = tensors.iter().map(|(name, tensor)| (timms(name), tensor.clone())).collect();
    for prefix in ["", "model."] {
        folder.write(prefixed(&named, prefix));
        let started = network(Backbone::ResnetV1c, 2);
        assert!(started.load_backbone(&folder.file()).unwrap().left.is_empty());
        assert_eq!(weights(&started), weights(&source));
        let error = network(Backbone::ResnetV1, 2).load_backbone(&folder.file()).unwrap_err().to_string();
        assert!(error.contains("`backbone: resnet_v1c`"), "{error}");
    }
    // timm's other deep stems are narrower. Layers and width are not at fault then.
    let narrow = named.into_iter().map(|(name, tensor)| {
        let tensor = if name == "conv1.0.weight" { tensor.narrow(0, 0, 2).unwrap() } else { tensor };
        (name, tensor.contiguous().unwrap())
    });
    folder.write(narrow);
    let error = network(Backbone::ResnetV1c, 2).load_backbone(&folder.file()).unwrap_err().to_string();
    assert!(error.contains("tensor conv1.0.weight: expected f32 of shape [4, 3, 3, 3]"), "{error}");
    assert!(!error.contains("`layers`"), "{error}");
}

#[test]
fn a_file_that_is_no_checkpoint_names_the_setting_that_starts_from_it() {
    let folder = Folder::new();
    for (backbone, name) in [
        (Backbone::ResnetV1, "`backbone: resnet_v1`"),
        (Backbone::ResnetV1c, "`backbone: resnet_v1c`"),
        (Backbone::ResnetV2, "`backbone: resnet_v2`"),
    ] {
        let config = PspNetConfig { layers: [1; 4], width: 4, backbone, ..PspNetConfig::default() };
        let source = Network::new(&NetworkConfig::new(config, 3), 1, &Device::Cpu).unwrap();
        folder.write(folder.backbone(&source));
        let error = Network::load(&folder.file(), &Device::Cpu).err().expect("a refusal").to_string();
        assert!(error.contains("model.pretrained") && error.contains(name), "{error}");
    }
}
