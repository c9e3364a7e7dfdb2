use std::collections::{BTreeMap, HashMap};

use crate::{Architecture, Mode, Network, NetworkConfig};
use candle_core::{Device, Tensor, Var};
use robustseg_ops::Tape;
use serde_json::{Map, json};

/// Small networks of every kind with several blocks in a stage, an auxiliary head and dropped branches
/// where there are such.
fn networks() -> Vec<NetworkConfig> {
    let of = |architecture: Architecture| {
        let known = architecture.fields();
        let wanted = [
            ("layers", json!([2, 1, 3, 1])),
            ("depths", json!([2, 1, 3, 1])),
            ("drop_path", json!(0.5)),
            ("auxiliary_loss", json!(0.4)),
        ];
        // A serialised network leaves out what is at its default.
        let known = |field: &str| known.contains_key(field) || field == "auxiliary_loss";
        let fields: Map<_, _> =
            wanted.into_iter().filter(|(field, _)| known(field)).map(|(k, v)| (k.into(), v)).collect();
        let deeper = architecture.with(fields.clone());
        let deeper = deeper.or_else(|_| {
            let without = fields.into_iter().filter(|(field, _)| field != "auxiliary_loss");
            architecture.with(without.collect())
        });
        NetworkConfig::new(deeper.unwrap(), 3)
    };
    Architecture::small().into_iter().map(of).collect()
}

/// Logits of all heads, gradients of image and weights, and the running statistics afterwards.
type Outcome = BTreeMap<String, Vec<u32>>;

fn outcome(config: &NetworkConfig, mode: &str, recompute: bool) -> candle_core::Result<Outcome> {
    let mut network = Network::new(config, 5, &Device::Cpu).unwrap();
    network.set_recompute(recompute);
    let image = Var::from_tensor(&image()?)?;
    let mut random = robustseg_random::stream(3, "dropout", [0; 3]);
    let mut mode = match mode {
        "evaluation" => Mode::Evaluation,
        "batch" => Mode::BatchStatistics,
        "fixed" => Mode::FixedStatistics,
        _ => Mode::Training { dropout: 0.3, random: &mut random },
    };
    let tape = Tape::start();
    let heads = network.forward_all(&image, &mut mode)?;
    let bits = |tensor: &Tensor| -> candle_core::Result<Vec<u32>> {
        Ok(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
    };
    let mut outcome = BTreeMap::new();
    for (index, logits) in heads.iter().enumerate() {
        outcome.insert(format!("logits {index}"), bits(logits)?);
    }
    let squares = heads.iter().map(|logits| logits.sqr()?.mean_all());
    let value = squares.reduce(|a, b| a? + b?).unwrap()?;
    let gradients = tape.backward(&value)?;
    outcome.insert("gradient of the image".into(), bits(gradients.get(&image).unwrap())?);
    for (name, parameter) in network.parameters() {
        outcome.insert(name.clone(), bits(&parameter.var)?);
        if let Some(gradient) = gradients.get(&parameter.var) {
            outcome.insert(format!("gradient of {name}"), bits(gradient)?);
        }
    }
    Ok(outcome)
}

fn image() -> candle_core::Result<Tensor> {
    let pixels = (0..2 * 3 * 45 * 37).map(|index| (index * 37 % 101) as f32 / 101.0);
    Tensor::from_iter(pixels, &Device::Cpu)?.reshape((2, 3, 45, 37))
}

#[test]
fn computing_maps_again_changes_no_bit() -> candle_core::Result<()> {
    for config in networks() {
        for mode in ["evaluation", "batch", "fixed", "training"] {
            let (expected, found) = (outcome(&config, mode, false)?, outcome(&config, mode, true)?);
            let gradients = expected.keys().filter(|name| name.starts_with("gradient of ")).count();
            assert_eq!(gradients > 1, ["fixed", "training"].contains(&mode), "{mode}: {gradients}");
            for (name, expected) in &expected {
                assert!(found[name] == *expected, "{:?} {mode}: {name}", config.architecture);
            }
            assert_eq!(found.len(), expected.len());
        }
    }
    Ok(())
}

/// Sums over processes begin with the last positions, and one straggler would keep all others waiting.
#[test]
fn backward_passes_complete_gradients_from_the_last_position_to_the_first() -> candle_core::Result<()> {
    for config in networks() {
        let network = Network::new(&config, 5, &Device::Cpu).unwrap();
        let trained = network.parameters().values().filter(|parameter| parameter.is_trainable());
        let positions: HashMap<_, _> = trained.map(|one| (one.var.id(), one.position)).collect();
        let tape = Tape::start();
        let logits = network.forward_all(&image()?, &mut Mode::FixedStatistics)?;
        let squares = logits.iter().map(|logits| logits.sqr()?.mean_all());
        let value = squares.reduce(|a, b| a? + b?).unwrap()?;
        let mut found: Vec<usize> = Vec::new();
        tape.backward_with(&value, |variable, _| {
            found.extend(positions.get(&variable));
            Ok(())
        })?;
        assert_eq!(found.len(), positions.len(), "{:?}", config.architecture);
        let late = |index: usize| found[index..].iter().filter(|later| **later > found[index]).count();
        let most = (0..found.len()).map(late).max();
        assert!(most < Some(16), "{:?}: {most:?}", config.architecture);
    }
    Ok(())
}
