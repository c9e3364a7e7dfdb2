//! The network's shape, its passes and its checkpoints.

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use robustseg_models::{Branch, Error, Mode, Network, NetworkConfig, Part, PspNetConfig};
use robustseg_ops::{PixelObjective, pixel_objective_mean};
use robustseg_random::stream;
use std::path::Path;

fn tiny() -> NetworkConfig {
    tiny_of_width(4)
}

fn tiny_of_width(width: usize) -> NetworkConfig {
    NetworkConfig::new(PspNetConfig { layers: [1, 2, 1, 1], width, ..PspNetConfig::default() }, 5)
}

fn image(shape: (usize, usize, usize, usize)) -> Tensor {
    let mut values = vec![0.0; shape.0 * shape.1 * shape.2 * shape.3];
    robustseg_random::standard_normal(&mut stream(1, "image", [0; 3]), &mut values);
    let values = values.iter().map(|v| (0.5 + 0.2 * v).clamp(0.0, 1.0)).collect();
    Tensor::from_vec::<_, f32>(values, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn pspnet50_has_the_published_size() {
    let outline = NetworkConfig::new(PspNetConfig::default(), 21).outline().unwrap();
    assert_eq!(outline.parameter_count(), 46_584_917);
    let giga = outline.multiply_adds(472, 472) as f64 / 1e9;
    // 150.5 by the definition, in which the head's convolution reads the upsampled means.
    assert!((giga - 118.6).abs() < 0.1, "{giga} GMAC");
}

#[test]
fn any_image_size_gives_logits_of_an_eighth_and_of_its_own_size() {
    let net = Network::new(&tiny(), 0, &Device::Cpu).unwrap();
    for (height, width) in [(1, 1), (1, 40), (33, 7), (64, 48), (37, 51)] {
        let image = image((1, 3, height, width));
        let small = net.forward(&image, &mut Mode::Evaluation).unwrap();
        assert_eq!(small.dims(), [1, height.div_ceil(8), width.div_ceil(8), 5]);
        let full = net.logits(&image).unwrap();
        assert_eq!(full.dims(), [1, 5, height, width]);
        assert!(values(&full).iter().all(|v| v.is_finite()));
    }
}

#[test]
fn weights_are_a_function_of_seed_and_name() {
    let net = |seed| Network::new(&tiny(), seed, &Device::Cpu).unwrap();
    let (a, b, c) = (net(3), net(3), net(4));
    let name = "backbone.stages.1.blocks.0.conv2.weight";
    let weight = |net: &Network| values(&net.parameters()[name].var);
    assert_eq!(weight(&a), weight(&b));
    assert_ne!(weight(&a), weight(&c));
    let weights = weight(&a);
    let fan_in = a.parameters()[name].var.dims()[1..].iter().product::<usize>() as f32;
    let variance = weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32;
    assert!((variance * fan_in / 2.0 - 1.0).abs() < 0.2, "variance {variance}, fan-in {fan_in}");
}

#[test]
fn only_training_tracks_weights_and_moves_running_statistics() {
    let net = Network::new(&tiny(), 0, &Device::Cpu).unwrap();
    let (image, label) =
        (image((2, 3, 33, 29)), Tensor::zeros((2, 33, 29), candle_core::DType::U8, &Device::Cpu).unwrap());
    let running = || values(&net.parameters()["backbone.norm.running_mean"].var);
    let before = running();
    for mut mode in [Mode::Evaluation, Mode::BatchStatistics] {
        assert!(!net.forward(&image, &mut mode).unwrap().track_op());
        assert_eq!(running(), before);
    }
    let mut random = stream(0, "dropout", [0; 3]);
    let logits = net.forward(&image, &mut Mode::Training { dropout: 0.1, random: &mut random }).unwrap();
    assert_ne!(running(), before);
    let loss = pixel_objective_mean(&logits, &label, PixelObjective::CrossEntropy, net.alignment()).unwrap();
    let gradients = loss.backward().unwrap();
    for (name, parameter) in net.parameters() {
        assert_eq!(gradients.get(&parameter.var).is_some(), parameter.is_trainable(), "{name}");
    }
}

#[test]
fn every_variable_has_the_kind_and_part_that_its_name_says() {
    use robustseg_models::ParameterKind::{Bias, ConvolutionWeight, NormBias, NormWeight, RunningStatistic};
    let branches = vec![Branch::new("auxiliary", 5), Branch::new("mask", 2)];
    let net = Network::new(&NetworkConfig { branches, ..tiny() }, 0, &Device::Cpu).unwrap();
    let kind = |name: &str| match name.rsplit_once('.') {
        Some((_, "running_mean" | "running_var")) => RunningStatistic,
        Some((layer, "weight")) if layer.contains("norm") => NormWeight,
        Some((layer, "bias")) if layer.contains("norm") => NormBias,
        Some((_, "bias")) => Bias,
        _ => ConvolutionWeight,
    };
    for (name, parameter) in net.parameters() {
        assert_eq!(parameter.kind, kind(name), "{name}");
        let part = if name.starts_with("backbone.") { Part::Backbone } else { Part::Head };
        assert_eq!(parameter.part, part, "{name}");
    }
    let trainable = net.parameters().values().filter(|parameter| parameter.is_trainable());
    let numbers = trainable.map(|parameter| parameter.var.elem_count()).sum::<usize>();
    assert_eq!(numbers, net.parameter_count());
}

#[test]
fn a_checkpoint_gives_the_same_network_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let net = Network::new(&tiny(), 5, &Device::Cpu).unwrap();
    net.save(&path).unwrap();
    let again = Network::load(&path, &Device::Cpu).unwrap();
    assert_eq!(again.config(), net.config());
    let image = image((1, 3, 33, 29));
    assert_eq!(values(&net.logits(&image).unwrap()), values(&again.logits(&image).unwrap()));
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("backbone.stem.conv.weight").unwrap().shape(), [8, 3, 7, 7]);
    assert_eq!(file.tensor("head.conv.weight").unwrap().shape(), [32, 256, 3, 3]);
}

#[test]
fn a_network_with_branches_is_its_main_head_and_keeps_the_branches() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let branches = vec![Branch::new("auxiliary", 5), Branch::new("mask", 2)];
    let config = NetworkConfig { branches, ..tiny() };
    let net = Network::new(&config, 5, &Device::Cpu).unwrap();
    let image = image((2, 3, 33, 29));
    let branches = |net: &Network| net.forward_branches(&image, &mut Mode::Evaluation).unwrap();
    let logits = branches(&net);
    assert_eq!(values(&logits[0]), values(&net.forward(&image, &mut Mode::Evaluation).unwrap()));
    let dims: Vec<_> = logits.iter().map(Tensor::dims).collect();
    assert_eq!(dims, [[2, 5, 4, 5], [2, 5, 4, 5], [2, 5, 4, 2]]);
    // The main head does not depend on the branches.
    let alone = Network::new(&tiny(), 5, &Device::Cpu).unwrap();
    assert_eq!(values(&net.logits(&image).unwrap()), values(&alone.logits(&image).unwrap()));
    assert_eq!(branches(&alone).len(), 1);
    let [own, more] = [&alone, &net].map(|net| net.parameters().keys().cloned().collect::<Vec<_>>());
    let further: Vec<_> = more.iter().filter(|name| !own.contains(name)).collect();
    assert_eq!(further.len(), 2 * 7, "{further:?}");
    assert!(further.iter().all(|name| name.starts_with("auxiliary.") || name.starts_with("mask.")));
    assert_eq!(config.outline().unwrap().parameter_count(), net.parameter_count());

    net.save(&path).unwrap();
    let again = Network::load(&path, &Device::Cpu).unwrap();
    assert_eq!(again.config(), &config);
    assert_eq!(values(&branches(&again)[2]), values(&logits[2]));
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("auxiliary.head.conv.weight").unwrap().shape(), [32, 256, 3, 3]);
    assert_eq!(file.tensor("mask.classifier.weight").unwrap().shape(), [2, 32, 1, 1]);
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_another_error_than_a_broken_one() {
    let folder = tempfile::tempdir().unwrap();
    let net = Network::new(&tiny(), 5, &Device::Cpu).unwrap();
    let path = folder.path().join("missing/net.safetensors");
    let error = net.save(&path).unwrap_err();
    assert!(matches!(&error, Error::Write { path: of, .. } if *of == path), "{error}");
    assert!(error.to_string().contains("missing/net.safetensors"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_checkpoint_changed_at_random_is_refused_or_a_network(
        edits in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..4),
        length in prop::option::of(0.0..1.0_f64),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.safetensors");
        Network::new(&tiny_of_width(1), 5, &Device::Cpu).unwrap().save(&path).unwrap();
        // Without the seal, which would tell of any change, and where it tells most: in the header.
        let mut bytes = std::fs::read(&path).unwrap();
        let seal = bytes.windows(8).position(|window| window == br#""sha256""#).unwrap();
        bytes[seal + 1] = b'x';
        let header = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize + 8;
        for (place, value) in edits {
            bytes[(place * header as f64) as usize] = value;
        }
        if let Some(length) = length {
            bytes.truncate((length * bytes.len() as f64) as usize);
        }
        std::fs::write(&path, &bytes).unwrap();
        match Network::load(&path, &Device::Cpu) {
            Ok(net) => {
                let numbers = net.parameters().values().flat_map(|parameter| values(&parameter.var));
                prop_assert!(numbers.into_iter().all(f32::is_finite));
            }
            Err(error) => prop_assert!(error.to_string().contains("net.safetensors")),
        }
    }
}

#[test]
fn a_backbone_is_taken_over_and_the_rest_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let source = Network::new(&tiny(), 5, &Device::Cpu).unwrap();
    source.save(&path).unwrap();
    let net = Network::new(&tiny(), 6, &Device::Cpu).unwrap();
    let head = values(&net.parameters()["head.conv.weight"].var);
    net.load_backbone(&path).unwrap();
    for (name, parameter) in net.parameters().iter().filter(|(name, _)| name.starts_with("backbone.")) {
        assert_eq!(values(&parameter.var), values(&source.parameters()[name].var), "{name}");
    }
    assert_eq!(values(&net.parameters()["head.conv.weight"].var), head);
    let other = Network::new(&tiny_of_width(8), 6, &Device::Cpu).unwrap();
    assert!(other.load_backbone(&path).unwrap_err().to_string().contains("expected f32 of shape"));
}

#[test]
fn broken_checkpoints_are_named_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let net = Network::new(&tiny(), 5, &Device::Cpu).unwrap();
    net.save(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let refused = |path: &Path| match Network::load(path, &Device::Cpu) {
        Err(error @ Error::Checkpoint { .. }) => error.to_string(),
        Err(other) => panic!("not a checkpoint error: {other}"),
        Ok(_) => panic!("was not refused"),
    };
    let write = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        refused(&path)
    };
    assert!(refused(&folder.path().join("none.safetensors")).contains("no such file"));
    assert!(refused(folder.path()).contains("is a folder"));
    assert!(write(&[]).contains("truncated"));
    assert!(write(&whole[..whole.len() / 2]).contains("truncated"));
    assert!(write(&whole[..40]).contains("truncated"));
    assert!(write(b"PK\x03\x04 not a safetensors file at all").contains("not a complete safetensors file"));
    let header = |from: &str, to: &str| {
        let mut bytes = whole.clone();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect("text in header");
        assert_eq!(from.len(), to.len());
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    assert!(write(&header(r#"\"width\":4"#, r#"\"width\":6"#)).contains("damaged"));
    let mut flipped = whole.clone();
    let last = flipped.len() - 3;
    flipped[last] ^= 1;
    assert!(write(&flipped).contains("damaged"));
    // What is on purpose has no seal.
    let whole = header(r#""sha256""#, r#""no_sum""#);
    let header = |from: &str, to: &str| {
        let mut bytes = whole.clone();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect("text in header");
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    assert!(write(&header(r#"\"width\":4"#, r#"\"width\":6"#)).contains("does not fit"));
    assert!(write(&header(r#"\"width\":4"#, r#"\"wodth\":4"#)).contains("newer robustseg"));
    assert!(write(&header(r#"\"width\":4"#, r#"\"width\":0"#)).contains("width must be"));
    assert!(write(&header(r#""model""#, r#""medol""#)).contains("no `model` metadata"));
    assert!(write(&header("classifier.bias", "classifier.bios")).contains("classifier.bias is missing"));
    let mut infinite = whole.clone();
    let end = infinite.len();
    infinite[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    assert!(write(&infinite).contains("not finite"));
}
