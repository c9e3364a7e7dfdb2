//! SegFormer's shape, its settings and its checkpoints.

mod common;

use candle_core::{Device, Tensor};
use rand::RngExt;
use robustseg_models::{
    Branch, Mode, Network, NetworkConfig, Part, SegFormerConfig, SegFormerSize, Uniforms,
};
use robustseg_ops::{PixelObjective, Tape, pixel_objective_mean};
use robustseg_random::stream;

use common::{comes_back, image, values};

/// Of transformers' `SegformerForSemanticSegmentation` with 150 classes.
const PARAMETERS: [(SegFormerSize, usize); 6] = [
    (SegFormerSize::B0, 3_752_694),
    (SegFormerSize::B1, 13_715_798),
    (SegFormerSize::B2, 27_461_974),
    (SegFormerSize::B3, 47_337_814),
    (SegFormerSize::B4, 64_108_374),
    (SegFormerSize::B5, 84_708_694),
];

fn small() -> SegFormerConfig {
    SegFormerConfig {
        depths: [1, 2, 1, 1],
        widths: [8, 8, 12, 16],
        heads: [1, 2, 3, 2],
        reductions: [2, 2, 1, 1],
        decoder_channels: 12,
        drop_path: 0.3,
    }
}

#[test]
fn published_sizes_have_the_published_numbers_of_parameters() {
    for (size, parameters) in PARAMETERS {
        let outline = NetworkConfig::new(SegFormerConfig::from(size), 150).outline().unwrap();
        assert_eq!(outline.parameter_count(), parameters, "{size:?}");
    }
    let b0 = NetworkConfig::new(SegFormerConfig::default(), 150).outline().unwrap();
    let giga = b0.multiply_adds(512, 512) as f64 / 1e9;
    // The paper's 8.4, without the products of the head's two linear layers at full size.
    assert!((3.0..4.5).contains(&giga), "{giga} GMAC");
}

#[test]
fn logits_have_a_quarter_of_the_size_and_any_image_is_possible() {
    let network = Network::new(&NetworkConfig::new(small(), 5), 0, &Device::Cpu).unwrap();
    for (height, width) in [(16, 16), (33, 47), (37, 19)] {
        let image = image(height, width);
        let small = network.forward(&image, &mut Mode::Evaluation).unwrap();
        assert_eq!(small.dims(), [2, height.div_ceil(4), width.div_ceil(4), 5]);
        let full = network.logits(&image).unwrap();
        assert_eq!(full.dims(), [2, 5, height, width]);
        assert!(values(&full).iter().all(|value| value.is_finite()));
    }
    assert_eq!(network.config().smallest_image(), 9);
    assert!(network.logits(&image(9, 40)).is_ok());
    let error = network.logits(&image(8, 40)).unwrap_err().to_string();
    assert!(error.contains("40x8 pixels is too small for segformer, which needs 9x9"), "{error}");
}

#[test]
fn every_weight_gets_a_gradient_in_training_and_none_in_evaluation() {
    let config =
        NetworkConfig { branches: vec![Branch::new("further", 2)], ..NetworkConfig::new(small(), 3) };
    let network = Network::new(&config, 0, &Device::Cpu).unwrap();
    let (image, mut random) = (image(33, 47), stream(0, "dropout", [0; 3]));
    let label = Tensor::zeros((2, 33, 47), candle_core::DType::U8, &Device::Cpu).unwrap();
    assert!(!network.forward(&image, &mut Mode::Evaluation).unwrap().track_op());
    let mut mode = Mode::Training { dropout: 0.1, random: &mut random };
    let logits = network.forward_branches(&image, &mut mode).unwrap();
    let loss =
        |logits| pixel_objective_mean(logits, &label, PixelObjective::CrossEntropy, network.alignment());
    let total = (loss(&logits[0]).unwrap() + loss(&logits[1]).unwrap()).unwrap();
    let gradients = total.backward().unwrap();
    for (name, parameter) in network.parameters() {
        let gradient = gradients.get(&parameter.var);
        assert_eq!(gradient.is_some(), parameter.is_trainable(), "{name}");
        let backbone = parameter.part == Part::Backbone;
        assert_eq!(name.starts_with("backbone."), backbone, "{name}");
    }
}

#[test]
fn stochastic_depth_and_dropout_are_functions_of_the_stream() {
    let run = |seed| {
        let network = Network::new(&NetworkConfig::new(small(), 3), 0, &Device::Cpu).unwrap();
        let mut random = stream(seed, "dropout", [0; 3]);
        let mut mode = Mode::Training { dropout: 0.1, random: &mut random };
        values(&network.forward(&image(33, 47), &mut mode).unwrap())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_checkpoint_comes_back_and_names_all_settings() {
    comes_back(&NetworkConfig::new(small(), 3), &image(33, 47));
}

#[test]
fn settings_next_to_a_size_change_it_and_wrong_ones_are_named() {
    let read = |text: &str| serde_json::from_str::<SegFormerConfig>(text);
    let deep = read(r#"{"size": "b2", "depths": [1, 1, 1, 1]}"#).unwrap();
    assert_eq!(deep, SegFormerConfig { depths: [1; 4], ..SegFormerSize::B2.into() });
    assert_eq!(read("{}").unwrap(), SegFormerConfig::default());
    assert!(read(r#"{"depth": 3}"#).unwrap_err().to_string().contains("unknown field `depth`"));
    let refused = |config: SegFormerConfig| NetworkConfig::new(config, 3).validate().unwrap_err().to_string();
    assert!(
        refused(SegFormerConfig { heads: [1, 3, 1, 1], ..small() }).contains("heads must divide the widths")
    );
    assert!(refused(SegFormerConfig { drop_path: 1.0, ..small() }).contains("drop_path must be at least 0"));
    assert!(
        refused(SegFormerConfig { reductions: [0, 1, 1, 1], ..small() }).contains("reductions must be 1 to")
    );
}

#[test]
fn a_repeated_pass_drops_what_a_training_pass_drops() {
    let device = Device::Cpu;
    let run = |recompute: bool, repeated: bool| {
        let mut network = Network::new(&NetworkConfig::new(small(), 3), 0, &device).unwrap();
        network.set_recompute(recompute);
        let mut random = stream(7, "dropout", [0; 3]);
        let tape = Tape::start();
        let logits = if repeated {
            // More than a pass takes.
            let uniforms: Vec<f64> = (0..100_000).map(|_| random.random()).collect();
            let uniforms = Uniforms::new(Tensor::new(uniforms, &device).unwrap());
            network.forward(&image(33, 47), &mut Mode::Repeated { dropout: 0.3, uniforms }).unwrap()
        } else {
            let mut mode = Mode::Training { dropout: 0.3, random: &mut random };
            network.forward(&image(33, 47), &mut mode).unwrap()
        };
        let gradients = tape.backward(&logits).unwrap();
        let mut all = values(&logits);
        for parameter in network.parameters().values().filter(|parameter| parameter.is_trainable()) {
            all.extend(values(gradients.get(&parameter.var).unwrap()));
        }
        all
    };
    for recompute in [false, true] {
        assert_eq!(run(recompute, true), run(recompute, false));
    }
}
