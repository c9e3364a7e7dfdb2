//! PSPNet on ResNet v1, `DeepLabV3` and FCN: their sizes, their heads, and weights to start from.

use candle_core::{DType, Device, Tensor};
use robustseg_models::{
    Architecture, Backbone, Branch, DeepLabV3Config, DeepLabVariant, FcnConfig, Mode, Network, NetworkConfig,
    NetworkSpec, Part, PspNetConfig,
};
use std::collections::HashMap;
use std::path::Path;

const FIFTY: [usize; 4] = [3, 4, 6, 3];
const HUNDRED: [usize; 4] = [3, 4, 23, 3];

fn pspnet(layers: [usize; 4], backbone: Backbone, auxiliary_loss: f64) -> Architecture {
    PspNetConfig { layers, width: 64, backbone, auxiliary_loss }.into()
}

fn deeplabv3(layers: [usize; 4], variant: DeepLabVariant, auxiliary_loss: f64) -> Architecture {
    let backbone = match variant {
        DeepLabVariant::Torchvision => Backbone::ResnetV1,
        DeepLabVariant::DdcAt => Backbone::ResnetV1c,
    };
    DeepLabV3Config { layers, width: 64, backbone, variant, auxiliary_loss }.into()
}

fn fcn(layers: [usize; 4], auxiliary_loss: f64) -> Architecture {
    FcnConfig { layers, auxiliary_loss, ..FcnConfig::default() }.into()
}

/// Small networks of each kind, with and without the auxiliary head.
fn small() -> Vec<NetworkConfig> {
    let mut all = Vec::new();
    for auxiliary_loss in [0.0, 0.4] {
        let (layers, width) = ([1, 2, 1, 1], 4);
        for backbone in [Backbone::ResnetV2, Backbone::ResnetV1, Backbone::ResnetV1c] {
            all.push(PspNetConfig { layers, width, backbone, auxiliary_loss }.into());
            all.push(FcnConfig { layers, width, backbone, auxiliary_loss }.into());
            for variant in [DeepLabVariant::Torchvision, DeepLabVariant::DdcAt] {
                all.push(DeepLabV3Config { layers, width, backbone, variant, auxiliary_loss }.into());
            }
        }
    }
    all.into_iter().map(|architecture: Architecture| NetworkConfig::new(architecture, 5)).collect()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Counted by PyTorch, from torchvision's builders and `tests/tests/networks/golden.py` at full
/// size.
#[test]
fn the_published_networks_have_their_published_sizes() {
    use DeepLabVariant::{DdcAt, Torchvision};
    for (architecture, expected) in [
        (pspnet(FIFTY, Backbone::ResnetV1, 0.0), 46_592_597),
        (pspnet(FIFTY, Backbone::ResnetV1, 0.4), 48_957_802),
        (pspnet(FIFTY, Backbone::ResnetV1c, 0.0), 46_716_373),
        (pspnet(FIFTY, Backbone::ResnetV1c, 0.4), 49_081_578),
        (pspnet(HUNDRED, Backbone::ResnetV1c, 0.4), 68_073_706),
        (deeplabv3(FIFTY, Torchvision, 0.0), 39_638_869),
        (deeplabv3(FIFTY, Torchvision, 0.5), 42_004_074),
        (deeplabv3(HUNDRED, Torchvision, 0.0), 58_630_997),
        (deeplabv3(FIFTY, DdcAt, 0.0), 39_172_309),
        (deeplabv3(FIFTY, DdcAt, 0.4), 39_440_362),
        (fcn(FIFTY, 0.0), 32_957_013),
        (fcn(FIFTY, 0.5), 35_322_218),
        (fcn(HUNDRED, 0.0), 51_949_141),
    ] {
        let config = NetworkConfig::new(architecture, 21);
        assert_eq!(config.outline().unwrap().parameter_count(), expected, "{config:?}");
    }
}

#[test]
fn small_images_give_small_logits_in_every_mode() {
    for config in small() {
        let net = Network::new(&config, 0, &Device::Cpu).unwrap();
        for (height, width) in [(1, 1), (33, 7), (37, 51)] {
            let image = Tensor::rand(0_f32, 1.0, (2, 3, height, width), &Device::Cpu).unwrap();
            let mut random = robustseg_random::stream(0, "dropout", [0; 3]);
            for mut mode in [
                Mode::Evaluation,
                Mode::BatchStatistics,
                Mode::FixedStatistics,
                Mode::Training { dropout: 0.1, random: &mut random },
            ] {
                let logits = net.forward(&image, &mut mode).unwrap();
                assert_eq!(logits.dims(), [2, height.div_ceil(8), width.div_ceil(8), 5]);
                assert!(values(&logits).iter().all(|value| value.is_finite()), "{config:?} {mode:?}");
            }
        }
    }
}

#[test]
fn heads_come_in_order_and_the_auxiliary_one_for_training_alone() {
    let image = Tensor::rand(0_f32, 1.0, (2, 3, 33, 41), &Device::Cpu).unwrap();
    for config in small() {
        let config = NetworkConfig { branches: vec![Branch::new("mask", 2)], ..config };
        let net = Network::new(&config, 0, &Device::Cpu).unwrap();
        let main = values(&net.forward(&image, &mut Mode::Evaluation).unwrap());
        let branches = net.forward_branches(&image, &mut Mode::Evaluation).unwrap();
        let all = net.forward_all(&image, &mut Mode::Evaluation).unwrap();
        assert_eq!(branches.iter().map(Tensor::dims).collect::<Vec<_>>(), [[2, 5, 6, 5], [2, 5, 6, 2]]);
        assert_eq!(all.len(), 2 + usize::from(net.auxiliary_loss().is_some()), "{config:?}");
        assert!(all.iter().skip(2).all(|logits| logits.dims() == [2, 5, 6, 5]));
        for logits in [&branches[0], &all[0]] {
            assert_eq!(values(logits), main, "{config:?}");
        }
        let supervised = net.parameters().keys().any(|name| name.starts_with("supervision."));
        assert_eq!(supervised, net.auxiliary_loss().is_some(), "{config:?}");
        assert!(net.parameters().values().any(|parameter| parameter.part == Part::Backbone));
        // Estimates and the network agree.
        assert_eq!(config.outline().unwrap().parameter_count(), net.parameter_count());
    }
}

#[test]
fn every_network_comes_back_from_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let image = Tensor::rand(0_f32, 1.0, (1, 3, 33, 29), &Device::Cpu).unwrap();
    for config in small() {
        let net = Network::new(&config, 5, &Device::Cpu).unwrap();
        net.save(&path).unwrap();
        let again = Network::load(&path, &Device::Cpu).unwrap();
        assert_eq!(again.config(), &config);
        assert_eq!(values(&net.logits(&image).unwrap()), values(&again.logits(&image).unwrap()));
    }
}

#[test]
fn a_pspnet_of_the_default_backbone_is_written_as_before() {
    let written = |text: &str| {
        let spec: NetworkSpec = serde_json::from_str(text).unwrap();
        let (again, model) = (serde_json::to_string(&spec).unwrap(), spec.network(3, Vec::new()));
        assert_eq!(serde_json::from_str::<NetworkSpec>(&again).unwrap(), spec);
        (again, serde_json::to_string(&model).unwrap())
    };
    let (spec, model) = written(r#"{"pspnet": {"width": 8, "backbone": "resnet_v2", "auxiliary_loss": 0}}"#);
    assert!(spec.starts_with(r#"{"layers":[3,4,6,3],"width":8,"#), "{spec}");
    assert!(model.starts_with(r#"{"layers":[3,4,6,3],"width":8,"num_classes":3,"#), "{model}");
    let (spec, model) = written(r#"{"pspnet": {"backbone": "resnet_v1c", "auxiliary_loss": 0.4}}"#);
    let settings = r#""layers":[3,4,6,3],"width":64,"backbone":"resnet_v1c","auxiliary_loss":0.4"#;
    assert!(spec.starts_with(&format!(r#"{{"pspnet":{{{settings}}}"#)), "{spec}");
    assert!(model.starts_with(&format!("{{{settings},")), "{model}");
}

#[test]
fn settings_out_of_range_are_named() {
    for (architecture, field) in [
        (PspNetConfig { auxiliary_loss: -0.1, ..PspNetConfig::default() }.into(), "auxiliary_loss"),
        (DeepLabV3Config { auxiliary_loss: f64::NAN, ..DeepLabV3Config::default() }.into(), "auxiliary_loss"),
        (FcnConfig { width: 0, ..FcnConfig::default() }.into(), "width"),
        (DeepLabV3Config { layers: [1, 0, 1, 1], ..DeepLabV3Config::default() }.into(), "layers"),
    ] {
        let architecture: Architecture = architecture;
        let error = architecture.validate().unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
    // Two variables of one name.
    let small = FcnConfig { layers: [1; 4], width: 2, auxiliary_loss: 0.5, ..FcnConfig::default() };
    let branches = vec![Branch::new("supervision", 2)];
    let config = NetworkConfig { branches, ..NetworkConfig::new(small, 3) };
    let error = Network::new(&config, 0, &Device::Cpu).err().expect("a refusal").to_string();
    assert!(error.contains("supervision.head.conv.weight exists twice"), "{error}");
}

/// Writes the backbone of a small network with torchvision's or semseg's names, and a classifier.
fn write_backbone(path: &Path, backbone: Backbone, prefix: &str) -> Network {
    let config = PspNetConfig { layers: [1, 2, 1, 1], width: 4, backbone, auxiliary_loss: 0.0 };
    let net = Network::new(&NetworkConfig::new(config, 3), 7, &Device::Cpu).unwrap();
    net.save(path).unwrap();
    let all = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let backbone = all
        .into_iter()
        .filter_map(|(name, tensor)| Some((format!("{prefix}{}", name.strip_prefix("backbone.")?), tensor)));
    let mut tensors: HashMap<String, Tensor> = backbone.collect();
    let counter = Tensor::new(7_i64, &Device::Cpu).unwrap();
    tensors.insert(format!("{prefix}bn1.num_batches_tracked"), counter);
    tensors.insert(format!("{prefix}fc.weight"), Tensor::ones((10, 128), DType::F32, &Device::Cpu).unwrap());
    candle_core::safetensors::save(&tensors, path).unwrap();
    net
}

#[test]
fn a_backbone_of_torchvisions_and_semsegs_names_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resnet.safetensors");
    for (backbone, tensors) in [(Backbone::ResnetV1, 100), (Backbone::ResnetV1c, 110)] {
        let source = write_backbone(&path, backbone, "");
        let (layers, width) = ([1, 2, 1, 1], 4);
        let deeplab = DeepLabV3Config { layers, width, backbone, ..DeepLabV3Config::default() };
        let fcn = FcnConfig { layers, width, backbone, auxiliary_loss: 0.5 };
        let pspnet = PspNetConfig { layers, width, backbone, auxiliary_loss: 0.4 };
        for architecture in [Architecture::from(deeplab), fcn.into(), pspnet.into()] {
            let net = Network::new(&NetworkConfig::new(architecture, 3), 8, &Device::Cpu).unwrap();
            let taken = net.load_backbone(&path).unwrap();
            assert_eq!((taken.tensors, &taken.left[..]), (tensors, &["fc.weight".to_owned()][..]));
            for (name, parameter) in net.parameters() {
                if parameter.part == Part::Backbone {
                    assert_eq!(values(&parameter.var), values(&source.parameters()[name].var), "{name}");
                }
            }
        }
    }
}

#[test]
fn a_file_of_another_backbone_is_told_with_the_setting_that_takes_it() {
    use Backbone::{ResnetV1, ResnetV1c, ResnetV2};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resnet.safetensors");
    for (of_file, wanted, parts) in [
        (ResnetV1, ResnetV2, ["`backbone: resnet_v1`", "timm/resnetv2_50"]),
        (ResnetV1c, ResnetV2, ["`backbone: resnet_v1c`", "semseg"]),
        (ResnetV2, ResnetV1, ["`backbone: resnet_v2`", "torchvision"]),
        (ResnetV1c, ResnetV1, ["`backbone: resnet_v1c`", "three convolutions"]),
        (ResnetV1, ResnetV1c, ["`backbone: resnet_v1`", "semseg"]),
    ] {
        for prefix in ["", "module."] {
            write_backbone(&path, of_file, prefix);
            let config =
                PspNetConfig { layers: [1, 2, 1, 1], width: 4, backbone: wanted, auxiliary_loss: 0.0 };
            let net = Network::new(&NetworkConfig::new(config, 3), 8, &Device::Cpu).unwrap();
            let error = net.load_backbone(&path).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
    let net = |layers| {
        let config = FcnConfig { layers, width: 4, ..FcnConfig::default() };
        Network::new(&NetworkConfig::new(config, 3), 8, &Device::Cpu).unwrap()
    };
    for prefix in ["", "module.model."] {
        write_backbone(&path, ResnetV1, prefix);
        let error = net([1, 1, 1, 1]).load_backbone(&path).unwrap_err().to_string();
        assert!(error.contains("layers [1, 2, 1, 1] and width 4"), "{error}");
    }
}
