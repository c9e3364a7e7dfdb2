//! Where networks fold norms into the convolutions before them: in bf16 on a GPU, and only while weights and
//! statistics rest.
#![cfg(feature = "cuda")]

use candle_core::{DType, Device, Tensor};
use robustseg_attacks::{PixelObjective, input_gradient};
use robustseg_evaluation::Target;
use robustseg_models::{Backbone, Mode, Network, NetworkConfig, NormStatistics, Precision, PspNetConfig};
use robustseg_ops::cuda::{ConvolutionRecord, convolution_records, count, open};
use robustseg_random::stream;

use crate::{CLASSES, LAYERS, WIDTH, cases};

/// The outputs of convolutions that `work` computes with the network on a GPU, in a thread of its own.
fn outputs(
    config: &NetworkConfig,
    activations: DType,
    work: fn(&Network, &Tensor, &Tensor),
) -> Vec<ConvolutionRecord> {
    let compute = || {
        let device = open(0).expect("a GPU that can be opened");
        let mut network = Network::new(config, 1, &device).expect("a network");
        let precision = Precision { activations, ..Precision::default() };
        network.set_precision(precision).expect("a precision of the device");
        let image = Tensor::rand(0_f32, 1.0, (1, 3, 17, 25), &Device::Cpu).expect("an image");
        let label = Tensor::zeros((1, 17, 25), DType::U8, &device).expect("a label");
        let image = image.to_device(&device).expect("an image");
        work(&network, &image, &label);
        convolution_records()
    };
    let records = std::thread::scope(|scope| scope.spawn(compute).join().expect("records"));
    records.into_iter().filter(|record| record.product == "output").collect()
}

fn attack(network: &Network, image: &Tensor, label: &Tensor) {
    let target = Target::new(network, NormStatistics::Running);
    input_gradient(&target, image, label, PixelObjective::CrossEntropy).expect("a gradient");
}

fn attack_with_statistics_of_the_batch(network: &Network, image: &Tensor, label: &Tensor) {
    let target = Target::new(network, NormStatistics::Batch);
    input_gradient(&target, image, label, PixelObjective::CrossEntropy).expect("a gradient");
}

fn fixed_statistics(network: &Network, image: &Tensor, _: &Tensor) {
    network.forward(image, &mut Mode::FixedStatistics).expect("logits");
}

fn training(network: &Network, image: &Tensor, _: &Tensor) {
    let mut random = stream(0, "folding", [0; 3]);
    let mut mode = Mode::Training { dropout: 0.1, random: &mut random };
    network.forward_all(image, &mut mode).expect("logits");
}

#[test]
fn norms_are_folded_in_attacks_in_bf16_alone() {
    if count() == 0 {
        eprintln!("no GPU here: not tested");
        return;
    }
    let pre_activation =
        PspNetConfig { layers: LAYERS, width: WIDTH, backbone: Backbone::ResnetV2, auxiliary_loss: 0.0 };
    let pre_activation = NetworkConfig::new(pre_activation, CLASSES);
    let post_activation = cases().into_iter().map(|(_, config)| config);
    for config in post_activation.chain([pre_activation.clone()]) {
        let records = outputs(&config, DType::BF16, attack);
        // Inside blocks a norm follows each 1x1 convolution that takes channels away, and each 3x3 one.
        let narrows = |record: &&ConvolutionRecord| {
            record.kernel == [1, 1] && record.input[2] > record.output[2] && record.output[2] > 8
        };
        let keeps =
            |record: &&ConvolutionRecord| record.kernel == [3, 3] && record.input[2] == record.output[2];
        for kind in [&narrows as &dyn Fn(&&ConvolutionRecord) -> bool, &keeps] {
            let mut inner = records.iter().filter(|record| kind(record)).peekable();
            assert!(inner.peek().is_some(), "{records:?}");
            for record in inner {
                assert!(record.folded_norm.is_some(), "{record:?}");
            }
        }
    }
    for records in [
        outputs(&pre_activation, DType::F32, attack),
        outputs(&pre_activation, DType::BF16, attack_with_statistics_of_the_batch),
        outputs(&pre_activation, DType::BF16, fixed_statistics),
        outputs(&pre_activation, DType::BF16, training),
    ] {
        assert!(!records.is_empty());
        assert!(records.iter().all(|record| record.folded_norm.is_none()), "{records:?}");
    }
}
