//! Trains a small network on the data of a manifest, without a spec:
//! `train_own_data MANIFEST ROOT CHECKPOINTS`. The same command resumes an interrupted training.
//!
//! `cargo run --release -p robustseg-training --example train_own_data -- data-manifests/synthetic.yaml "" checkpoints`

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use robustseg_datasets::{Dataset, Manifest, OnBadSample};
use robustseg_models::{Network, NetworkConfig, Origin, PspNetConfig};
use robustseg_training::{Identity, NFgsm, Run, Trainer, TrainingConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [manifest, root, checkpoints] = &arguments[..] else {
        return Err("usage: train_own_data MANIFEST ROOT CHECKPOINTS".into());
    };
    let manifest = Manifest::load(manifest)?;
    let [train, validation] = ["train", "val"].map(|split| Dataset::open(&manifest, root, split));
    let (train, validation) = (train?, validation?);
    let small = PspNetConfig { layers: [1, 1, 1, 1], width: 8, ..PspNetConfig::default() };
    let small = NetworkConfig::new(small, manifest.num_classes());
    let network = Network::new(&small, 0, &candle_core::Device::Cpu)?;

    let mut config = TrainingConfig::new(NFgsm::default(), 2);
    (config.batch_size, config.augmentation.crop, config.checkpoint_every) = (8, 96.into(), 20);
    let total_steps = config.steps_per_epoch(train.len())? * config.epochs as u64;
    let mut trainer = Trainer::new(network, &config, 0, total_steps)?;
    std::fs::create_dir_all(checkpoints)?;
    // Whatever decides the weights belongs into the identity: a state of another one is refused.
    let (identity, origin, stop) = (Identity::default(), Origin::default(), AtomicBool::new(false));
    let (train, validation, on_bad_sample) = (&train, &validation, OnBadSample::Fail);
    let (identity, origin, stop) = (&identity, &origin, &stop);
    trainer.restore(checkpoints, identity)?;
    trainer.run(&Run { train, validation, checkpoints, identity, origin, stop, on_bad_sample }, &mut ())?;
    println!("{total_steps} steps; the weights are {}", checkpoints.join("last.safetensors").display());
    Ok(())
}
