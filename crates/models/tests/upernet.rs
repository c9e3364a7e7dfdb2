//! UPerNet's shape, its settings and its checkpoints.

mod common;

use candle_core::{Device, Tensor};
use robustseg_models::{
    Branch, ConvNeXtSize, ConvNeXtStem, Mode, Network, NetworkConfig, Part, UperNetConfig,
};
use robustseg_ops::{PixelObjective, pixel_objective_mean};
use robustseg_random::stream;

use common::{comes_back, image, values};

fn small(stem: ConvNeXtStem) -> UperNetConfig {
    let (depths, dims) = ([1, 1, 2, 1], [6, 8, 10, 12]);
    UperNetConfig { depths, dims, stem, head_channels: 8, drop_path: 0.3, auxiliary_loss: 0.0 }
}

#[test]
fn published_sizes_have_the_published_numbers_of_parameters() {
    // Of transformers' UperNetForSemanticSegmentation with 150 classes and no auxiliary head.
    for (size, parameters) in [(ConvNeXtSize::Tiny, 59_318_838), (ConvNeXtSize::Small, 80_953_398)] {
        let outline = NetworkConfig::new(UperNetConfig::from(size), 150).outline().unwrap();
        assert_eq!(outline.parameter_count(), parameters, "{size:?}");
    }
    let tiny = NetworkConfig::new(UperNetConfig::default(), 150).outline().unwrap();
    let giga = tiny.multiply_adds(512, 512) as f64 / 1e9;
    // 235 by the definition, in which the fusing convolution reads upsampled maps.
    assert!((125.0..145.0).contains(&giga), "{giga} GMAC");
}

#[test]
fn logits_have_a_quarter_of_the_size() {
    for (stem, quarter) in [(ConvNeXtStem::Patches, [8, 11]), (ConvNeXtStem::Convolutions, [9, 12])] {
        let network = Network::new(&NetworkConfig::new(small(stem), 5), 0, &Device::Cpu).unwrap();
        let image = image(35, 47);
        let small = network.forward(&image, &mut Mode::Evaluation).unwrap();
        assert_eq!(small.dims(), [2, quarter[0], quarter[1], 5]);
        let full = network.logits(&image).unwrap();
        assert_eq!(full.dims(), [2, 5, 35, 47]);
        assert!(values(&full).iter().all(|value| value.is_finite()));
    }
}

#[test]
fn an_image_that_is_too_small_is_refused() {
    for (stem, smallest) in [(ConvNeXtStem::Patches, 32), (ConvNeXtStem::Convolutions, 29)] {
        let network = Network::new(&NetworkConfig::new(small(stem), 5), 0, &Device::Cpu).unwrap();
        assert_eq!(network.config().smallest_image(), smallest);
        assert!(network.logits(&image(smallest, 64)).is_ok());
        let error = network.logits(&image(smallest - 1, 64)).unwrap_err().to_string();
        assert!(error.contains("is too small for upernet, which needs"), "{error}");
    }
}

#[test]
fn every_weight_gets_a_gradient_in_training_and_none_in_evaluation() {
    for stem in [ConvNeXtStem::Patches, ConvNeXtStem::Convolutions] {
        let branches = vec![Branch::new("further", 2)];
        let architecture = UperNetConfig { auxiliary_loss: 0.4, ..small(stem) };
        let config = NetworkConfig { branches, ..NetworkConfig::new(architecture, 3) };
        let network = Network::new(&config, 0, &Device::Cpu).unwrap();
        let (image, mut random) = (image(35, 47), stream(0, "dropout", [0; 3]));
        let label = Tensor::zeros((2, 35, 47), candle_core::DType::U8, &Device::Cpu).unwrap();
        assert!(!network.forward(&image, &mut Mode::Evaluation).unwrap().track_op());
        let mut mode = Mode::Training { dropout: 0.1, random: &mut random };
        let logits = network.forward_all(&image, &mut mode).unwrap();
        let heads: Vec<_> = logits.iter().map(|logits| logits.dims()[3]).collect();
        assert_eq!((heads, network.auxiliary_loss()), (vec![3, 2, 3], Some(0.4)));
        let loss =
            |logits| pixel_objective_mean(logits, &label, PixelObjective::CrossEntropy, network.alignment());
        let total = logits.iter().map(loss).reduce(|sum, loss| sum? + loss?).unwrap().unwrap();
        let gradients = total.backward().unwrap();
        for (name, parameter) in network.parameters() {
            let gradient = gradients.get(&parameter.var);
            assert_eq!(gradient.is_some(), parameter.is_trainable(), "{name}");
            let backbone = parameter.part == Part::Backbone;
            assert_eq!(name.starts_with("backbone."), backbone, "{name}");
        }
    }
}

#[test]
fn a_checkpoint_comes_back_and_names_all_settings() {
    comes_back(&NetworkConfig::new(small(ConvNeXtStem::Convolutions), 3), &image(35, 47));
}

#[test]
fn settings_next_to_a_size_change_it_and_wrong_ones_are_named() {
    let read = |text: &str| serde_json::from_str::<UperNetConfig>(text);
    let robust = read(r#"{"size": "small", "stem": "convolutions"}"#).unwrap();
    assert_eq!(robust.depths, [3, 3, 27, 3]);
    assert_eq!(read("{}").unwrap(), UperNetConfig::default());
    assert!(read(r#"{"depth": 3}"#).unwrap_err().to_string().contains("unknown field `depth`"));
    let refused = |config: UperNetConfig| NetworkConfig::new(config, 3).validate().unwrap_err().to_string();
    let odd = UperNetConfig { dims: [5, 8, 8, 8], ..small(ConvNeXtStem::Convolutions) };
    assert!(refused(odd).contains("dims must begin with an even number"));
    let none = UperNetConfig { head_channels: 0, ..small(ConvNeXtStem::Patches) };
    assert!(refused(none).contains("head_channels must be 1 to"));
}
