//! Weights that other programs wrote: converted where that is plain, else refused with what they
//! are and what to do.

use candle_core::{DType, Device, Tensor};
use robustseg_models::{Backbone, Network, NetworkConfig, PspNetConfig};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const TINY: PspNetConfig =
    PspNetConfig { layers: [1, 2, 1, 1], width: 4, backbone: Backbone::ResnetV2, auxiliary_loss: 0.0 };

fn tiny() -> NetworkConfig {
    NetworkConfig::new(TINY, 3)
}

fn network(seed: u64) -> Network {
    Network::new(&tiny(), seed, &Device::Cpu).unwrap()
}

/// The tensors of `network` as a checkpoint has them.
fn tensors(network: &Network) -> HashMap<String, Tensor> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    network.save(&path).unwrap();
    candle_core::safetensors::load(&path, &Device::Cpu).unwrap()
}

/// The backbone alone, with timm's names.
fn backbone(network: &Network) -> HashMap<String, Tensor> {
    let all = tensors(network).into_iter();
    all.filter_map(|(name, tensor)| Some((name.strip_prefix("backbone.")?.to_owned(), tensor))).collect()
}

fn renamed(tensors: HashMap<String, Tensor>, name: impl Fn(&str) -> String) -> HashMap<String, Tensor> {
    tensors.into_iter().map(|(old, tensor)| (name(&old), tensor)).collect()
}

/// Writes `tensors` with the `model` metadata of a checkpoint, if it is to have some.
fn write(path: &Path, tensors: &HashMap<String, Tensor>, model: Option<&NetworkConfig>) {
    let model = model.map(|config| ("model".to_owned(), serde_json::to_string(config).unwrap()));
    let metadata = model.map(|model| HashMap::from([model]));
    std::fs::write(path, safetensors::serialize(tensors, metadata).unwrap()).unwrap();
}

fn values(network: &Network, name: &str) -> Vec<f32> {
    network.parameters()[name].var.flatten_all().unwrap().to_vec1().unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("weights.safetensors")
    }

    /// What refuses the backbone in `tensors`.
    fn refusal(&self, tensors: &HashMap<String, Tensor>) -> String {
        write(&self.file(), tensors, None);
        let network = network(2);
        let before = values(&network, "backbone.stem.conv.weight");
        let error = network.load_backbone(&self.file()).unwrap_err().to_string();
        assert_eq!(values(&network, "backbone.stem.conv.weight"), before, "the network is as it was");
        error
    }
}

#[test]
fn numbers_of_half_and_double_precision_are_converted() {
    let (folder, source) = (Folder::new(), network(1));
    for (dtype, name, bound) in
        [(DType::F16, "f16", 1e-3), (DType::BF16, "bf16", 1e-2), (DType::F64, "f64", 0.0)]
    {
        let convert = |tensors: HashMap<String, Tensor>| -> HashMap<String, Tensor> {
            tensors.into_iter().map(|(name, tensor)| (name, tensor.to_dtype(dtype).unwrap())).collect()
        };
        write(&folder.file(), &convert(tensors(&source)), Some(&tiny()));
        let loaded = Network::load(&folder.file(), &Device::Cpu).unwrap();
        write(&folder.file(), &convert(backbone(&source)), None);
        let started = network(2);
        let taken = started.load_backbone(&folder.file()).unwrap();
        assert!(taken.to_string().contains(&format!("converted from {name} to f32")), "{taken}");
        for network in [&loaded, &started] {
            let (found, expected) =
                (values(network, "backbone.norm.weight"), values(&source, "backbone.norm.weight"));
            assert_eq!(found, expected);
            let name = "backbone.stages.1.blocks.1.conv2.weight";
            for (found, expected) in values(network, name).iter().zip(values(&source, name)) {
                assert!((found - expected).abs() <= bound * expected.abs(), "{found} {expected}");
            }
        }
    }
}

#[test]
fn a_double_that_no_float_can_hold_and_whole_numbers_are_refused() {
    let (folder, mut tensors) = (Folder::new(), backbone(&network(1)));
    let shape = tensors["norm.weight"].shape().clone();
    tensors.insert(
        "norm.weight".into(),
        (Tensor::ones(&shape, DType::F64, &Device::Cpu).unwrap() * 1e300).unwrap(),
    );
    assert!(folder.refusal(&tensors).contains("norm.weight holds values that are not finite"));
    tensors.insert("norm.weight".into(), Tensor::ones(&shape, DType::I64, &Device::Cpu).unwrap());
    assert!(folder.refusal(&tensors).contains("norm.weight: expected f32"));
}

#[test]
fn counters_of_batches_are_not_looked_at() {
    let (folder, source) = (Folder::new(), network(1));
    let counter = Tensor::new(7_i64, &Device::Cpu).unwrap();
    let mut all = tensors(&source);
    all.insert("backbone.norm.num_batches_tracked".into(), counter.clone());
    write(&folder.file(), &all, Some(&tiny()));
    Network::load(&folder.file(), &Device::Cpu).unwrap();
    let mut part = backbone(&source);
    part.insert("stages.0.blocks.0.norm1.num_batches_tracked".into(), counter);
    write(&folder.file(), &part, None);
    assert!(network(2).load_backbone(&folder.file()).unwrap().left.is_empty());
}

#[test]
fn what_was_taken_and_what_was_left_is_told() {
    let (folder, source) = (Folder::new(), network(1));
    let (all, part) = (tensors(&source), backbone(&source));
    write(&folder.file(), &all, Some(&tiny()));
    let taken = network(2).load_backbone(&folder.file()).unwrap();
    assert_eq!((taken.tensors, taken.left.len()), (part.len(), all.len() - part.len()));
    let told = taken.to_string();
    let start = format!(
        "took {} tensors of the backbone; left {} tensors of the file: classifier.bias, ",
        part.len(),
        taken.left.len()
    );
    assert!(told.starts_with(&start) && told.ends_with(", ..."), "{told}");
    write(&folder.file(), &part, None);
    let told = network(2).load_backbone(&folder.file()).unwrap().to_string();
    assert!(told.ends_with("of the backbone; left none"), "{told}");
}

#[test]
fn foreign_names_are_told_with_what_to_do() {
    let (folder, part) = (Folder::new(), backbone(&network(1)));
    let other = folder.refusal(&renamed(part.clone(), |name| format!("other.{name}")));
    assert!(other.contains("begin with `other.`") && other.contains("save only the part"), "{other}");
    let torchvision = ["conv1.weight", "layer1.0.conv1.weight", "fc.bias"];
    let torchvision = torchvision.map(|name| (name.to_owned(), part["norm.bias"].clone()));
    for prefix in ["", "module.", "backbone."] {
        let refusal = folder.refusal(&renamed(torchvision.clone().into(), |name| format!("{prefix}{name}")));
        assert!(
            refusal.contains("torchvision") && refusal.contains("timm/resnetv2_50.a1h_in1k"),
            "{refusal}"
        );
    }
    let strange =
        folder.refusal(&HashMap::from([("blocks.0.attn.qkv.weight".into(), part["norm.bias"].clone())]));
    assert!(strange.contains("blocks.0.attn.qkv.weight") && strange.contains("resnetv2"), "{strange}");
}

#[test]
fn checkpoints_with_foreign_names_are_told_too() {
    let (folder, source) = (Folder::new(), network(1));
    let refusal = |tensors: &HashMap<String, Tensor>, model: Option<&NetworkConfig>| {
        write(&folder.file(), tensors, model);
        Network::load(&folder.file(), &Device::Cpu).err().unwrap().to_string()
    };
    let module = refusal(&renamed(tensors(&source), |name| format!("module.{name}")), Some(&tiny()));
    assert!(module.contains("begin with `module.`"), "{module}");
    let alone = refusal(&backbone(&source), None);
    assert!(alone.contains("no `model` metadata") && alone.contains("model.pretrained"), "{alone}");
}

#[test]
fn the_backbone_of_another_size_is_no_backbone_of_this_one() {
    let folder = Folder::new();
    for (config, layers) in [
        (PspNetConfig { layers: [1, 2, 3, 1], ..TINY }, "layers [1, 2, 3, 1] and width 4"),
        (PspNetConfig { layers: [1, 1, 1, 1], ..TINY }, "layers [1, 1, 1, 1] and width 4"),
        (PspNetConfig { width: 8, ..TINY }, "layers [1, 2, 1, 1] and width 8"),
    ] {
        let other = NetworkConfig::new(config, 3);
        let other = Network::new(&other, 1, &Device::Cpu).unwrap();
        for tensors in [tensors(&other), backbone(&other)] {
            let refusal = folder.refusal(&tensors);
            assert!(refusal.contains(layers) && refusal.contains("`layers`"), "{refusal}");
        }
    }
}

#[test]
fn files_of_other_kinds_are_told_with_what_to_do() {
    let folder = Folder::new();
    for (bytes, parts) in [
        (&b"PK\x03\x04\0\0\0\0archive/data.pkl"[..], ["PyTorch", "robustseg import"]),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", ["PyTorch", "robustseg import"]),
        (b"\x89HDF\r\n\x1a\n", ["HDF5", "safetensors"]),
        (b"<!DOCTYPE html><html>", ["web page", "again"]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ["Git LFS", "git lfs pull"]),
    ] {
        let path = folder.0.path().join("weights.pth");
        std::fs::write(&path, bytes).unwrap();
        let errors = [
            network(1).load_backbone(&path).unwrap_err().to_string(),
            Network::load(&path, &Device::Cpu).err().unwrap().to_string(),
        ];
        for error in errors {
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
            assert!(error.contains("weights.pth"), "{error}");
        }
    }
}
