//! Passes that a GPU repeats from a recording have the bits of passes that it computes. The emulated GPU also
//! makes recordings fail (`GPU_EMULATOR_FAULTS`, see `tests/gpu_emulator/emulator.hpp`).
#![cfg(feature = "cuda")]

use candle_core::{DType, Device, Result, Tensor, Var};
use robustseg_attacks::{
    Apgd, Attack, AttackConfig, Bim, Case, Fgsm, PixelObjective, SegPgd, input_gradient,
};
use robustseg_datasets::Batch;
use robustseg_evaluation::Target;
use robustseg_models::{Architecture, Network, NetworkConfig, NormStatistics, Precision, PspNetConfig};
use robustseg_ops::cuda::{self, RecordingRecord, recording_records};
use robustseg_ops::{Pass, Recordings, assign};
use robustseg_random::stream;
use robustseg_training::{Basic, Free, MethodConfig, Trainer, TrainingConfig};
use std::cell::Cell;
use std::process::Command;
use std::slice::from_ref;

const CLASSES: usize = 5;
const SIZE: [usize; 2] = [33, 41];

/// Two images of `size` in `[0, 1]` and labels, other ones for each `seed`.
fn batch(seed: usize, size: [usize; 2]) -> Batch {
    let pixels = size.iter().product::<usize>();
    let image = |index: usize| ((index * 7919 + seed * 104_729) % 997) as f32 / 996.0;
    let label = |index: usize| match (index / 7 + seed) % (CLASSES + 1) {
        CLASSES => 255,
        class => class as u8,
    };
    Batch {
        ids: vec!["a".into(), "b".into()],
        images: (0..2 * 3 * pixels).map(image).collect(),
        labels: (0..2 * pixels).map(label).collect(),
        height: size[0],
        width: size[1],
    }
}

/// The batch on the GPU.
fn case(seed: usize, [height, width]: [usize; 2], device: &Device) -> Result<(Tensor, Tensor)> {
    let batch = batch(seed, [height, width]);
    let image = Tensor::from_vec(batch.images, (2, 3, height, width), device)?;
    Ok((image, Tensor::from_vec(batch.labels, (2, height, width), device)?))
}

fn network(architecture: &Architecture, activations: DType, device: &Device) -> Network {
    let config = NetworkConfig::new(architecture.clone(), CLASSES);
    let mut network = Network::new(&config, 1, device).expect("a network");
    network.set_precision(Precision { activations, ..Precision::default() }).expect("a precision");
    network
}

/// A number for the bits of `tensor`.
fn hash(tensor: &Tensor) -> Result<u64> {
    let values = tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let mix = |hash: u64, value: &f64| (hash ^ value.to_bits()).wrapping_mul(0x100_0000_01B3);
    Ok(values.iter().fold(0xCBF2_9CE4_8422_2325, mix))
}

/// The passes that were recorded in this process, or refused.
fn report() {
    for RecordingRecord { pass, nodes, refused, .. } in recording_records() {
        let kind = pass.split([',', ' ']).next().expect("a word").to_owned();
        match (nodes, refused) {
            (Some(_), _) => println!("recorded {kind}"),
            (_, Some(reason)) => println!("refused {kind}: {reason}"),
            _ => {}
        }
    }
}

/// The work of a child process. The switches are read when a process starts.
#[test]
#[ignore = "the others start it"]
fn gradients_of_this_process() -> Result<()> {
    let device = cuda::open(0)?;
    for architecture in Architecture::small() {
        for activations in [DType::F32, DType::BF16] {
            let network = network(&architecture, activations, &device);
            let target = Target::new(&network, NormStatistics::Running);
            for seed in 0..4 {
                let (image, label) = case(seed, SIZE, &device)?;
                let found = input_gradient(&target, &image, &label, PixelObjective::CrossEntropy);
                println!(
                    "result {} {seed} {}",
                    architecture.name(),
                    hash(&found.expect("a gradient").gradient)?
                );
            }
            let (image, label) = case(5, SIZE, &device)?;
            let (random, case) =
                (&mut stream(0, "attack", [0; 3]), Case::new(&target, &image, &label).expect("a case"));
            let attacks: [&dyn Attack; 3] = [
                &Bim::default(),
                &SegPgd { steps: 3, ..SegPgd::default() },
                &Apgd { steps: 5, ..Apgd::default() },
            ];
            for attack in attacks {
                let found = attack.perturb(&case, 0.03, random).expect("an example");
                println!("result {} {}", architecture.name(), hash(&found.image)?);
            }
            report();
        }
    }
    Ok(())
}

/// The same for a network whose weights change, and whose caches overflow.
#[test]
#[ignore = "the others start it"]
fn changes_of_this_process() -> Result<()> {
    let device = cuda::open(0)?;
    let of_width = |width| {
        let config = PspNetConfig { layers: [1; 4], width, ..PspNetConfig::default() };
        network(&config.into(), DType::BF16, &device)
    };
    let gradients_of = |network: &Network, size: [usize; 2], count: usize| -> Result<()> {
        let target = Target::new(network, NormStatistics::Running);
        for seed in 0..count {
            let (image, label) = case(seed, size, &device)?;
            let found = input_gradient(&target, &image, &label, PixelObjective::Gain).expect("a gradient");
            println!("result {size:?} {seed} {}", hash(&found.gradient)?);
        }
        Ok(())
    };
    let gradients = |network: &Network, size| gradients_of(network, size, 4);
    let network = of_width(8);
    gradients(&network, SIZE)?;
    if std::env::var_os("GPU_EMULATOR_FAULTS").is_some_and(|faults| !faults.is_empty()) {
        report();
        return Ok(());
    }
    for parameter in network.parameters().values().filter(|parameter| parameter.is_trainable()) {
        assign(&parameter.var, &(parameter.var.as_tensor() * 1.25)?)?;
    }
    gradients(&network, SIZE)?;
    // More sizes than the pyramid remembers.
    gradients(&network, [25, 17])?;
    for height in (17..74).step_by(8) {
        gradients_of(&network, [height, 17], 1)?;
    }
    gradients(&network, SIZE)?;
    gradients(&network, [25, 17])?;
    // Larger weights need larger workspaces.
    gradients(&of_width(16), SIZE)?;
    gradients(&network, SIZE)?;
    report();
    Ok(())
}

/// The same for trainings.
#[test]
#[ignore = "the others start it"]
fn trainings_of_this_process() -> Result<()> {
    let device = cuda::open(0)?;
    let small = PspNetConfig { layers: [1; 4], width: 8, ..PspNetConfig::default() };
    let methods: [MethodConfig; 3] =
        [Basic {}.into(), AttackConfig::new(Fgsm {}, 0.03).into(), Free { epsilon: 0.03, replays: 2 }.into()];
    let ways = [(DType::F32, false), (DType::BF16, true), (DType::BF16, false)];
    for (method, (activations, recompute)) in methods.into_iter().zip(ways) {
        let network = network(&small.clone().into(), activations, &device);
        let mut config = TrainingConfig::new(method.clone(), 1);
        (config.dropout, config.recompute, config.batch_size) = (0.4, recompute, 2);
        // Larger steps let roundings grow.
        config.learning_rate = 1e-4;
        let mut trainer = Trainer::new(network, &config, 7, 100).expect("a training");
        // Dropout draws what it draws on the CPU.
        let small = NetworkConfig::new(small.clone(), CLASSES);
        let network = Network::new(&small, 1, &Device::Cpu).expect("a network");
        let mut on_cpu = Trainer::new(network, &config, 7, 100).expect("a training");
        for seed in 0..5 {
            let step = |trainer: &mut Trainer| {
                trainer.step_with(&batch(seed, SIZE), &[true, false]).expect("a step").loss
            };
            let loss = step(&mut trainer);
            println!("result {} {seed} {:?}", method.name(), loss.to_bits());
            if activations == DType::F32 {
                let expected = step(&mut on_cpu);
                assert!((loss - expected).abs() < 1e-4 * expected, "{seed}: {loss}, on the CPU {expected}");
            }
        }
        for (name, parameter) in trainer.network().parameters() {
            println!("result {} {name} {}", method.name(), hash(parameter.var.as_tensor())?);
        }
        report();
    }
    Ok(())
}

/// What a child process prints that does `work`, and leaves out some ways. `None` without a GPU, or if
/// there are `faults`, without an emulated one.
fn printed(work: &str, faults: &str, left_out: &str) -> Option<String> {
    let here = (cuda::count() > 0).then(|| cuda::open(0).ok().and_then(|device| cuda::name(&device)));
    if !here.flatten().is_some_and(|name| faults.is_empty() || name.contains("emulated")) {
        eprintln!("no such GPU here: not tested");
        return None;
    }
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", work, "--ignored", "--nocapture"])
        .env("GPU_EMULATOR_FAULTS", faults)
        .env("ROBUSTSEG_GPU_WITHOUT", left_out)
        .output()
        .expect("a process");
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success(), "{faults}: {text}{}", String::from_utf8_lossy(&child.stderr));
    Some(text)
}

fn lines<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(start)).collect()
}

/// Compares `work` with and without recordings. Returns what it says of them.
fn compared(work: &str, faults: &str) -> Option<Vec<String>> {
    let [with, without] = ["", "cuda_graphs"].map(|left_out| printed(work, faults, left_out));
    let (with, without) = (with?, without?);
    assert!(!lines(&without, "result").is_empty());
    assert_eq!(lines(&with, "result"), lines(&without, "result"), "{faults}");
    assert_eq!((lines(&without, "recorded"), lines(&without, "refused")), (vec![], vec![]));
    let said = [lines(&with, "recorded"), lines(&with, "refused")].concat();
    Some(said.into_iter().map(str::to_owned).collect())
}

#[test]
fn recorded_gradients_have_the_same_bits() {
    let Some(said) = compared("gradients_of_this_process", "") else { return };
    assert!(said.iter().all(|line| line == "recorded gradient"), "{said:?}");
}

#[test]
fn a_recording_ends_when_what_it_reads_changes() {
    let Some(said) = compared("changes_of_this_process", "") else { return };
    assert!(said.len() == 2 && said.iter().all(|line| line == "recorded gradient"), "{said:?}");
}

#[test]
fn where_recordings_fail_passes_are_computed() {
    for (fault, reason) in [
        ("capture", "CUDA_ERROR_NOT_SUPPORTED"),
        ("instantiate", "CUDA_ERROR_OUT_OF_MEMORY"),
        ("pools", "CUDA_ERROR_STREAM_CAPTURE"),
        ("replay", "other numbers"),
    ] {
        let Some(said) = compared("changes_of_this_process", fault) else { return };
        let refused = |line: &String| line.starts_with("refused gradient") && line.contains(reason);
        assert!(!said.is_empty() && said.iter().all(refused), "{fault}: {said:?}");
    }
}

/// Passes that cannot be recorded.
#[test]
#[ignore = "the others start it"]
fn refusals_of_this_process() -> Result<()> {
    let device = cuda::open(0)?;
    let (recordings, factor) = (Recordings::default(), Cell::new(1.0_f32));
    let uploads = |inputs: &[Tensor]| Ok(vec![(&inputs[0] + Tensor::new(&[factor.get(); 3], &device)?)?]);
    let reads = |inputs: &[Tensor]| {
        let sum = inputs[0].to_vec1::<f32>()?.iter().sum::<f32>();
        Ok(vec![inputs[0].affine(f64::from(sum), 0.0)?])
    };
    for seed in 0..5_u8 {
        factor.set(f32::from(seed));
        let image = Tensor::new(&[1.0, 2.0, f32::from(seed)], &device)?;
        let inputs = &[&image];
        let pass = |name| Pass { name, inputs, overwritten: &[] };
        let found = recordings.run(&pass("upload"), uploads)?;
        assert_eq!(hash(&found[0])?, hash(&uploads(from_ref(&image))?[0])?);
        let found = recordings.run(&pass("read"), reads)?;
        assert_eq!(hash(&found[0])?, hash(&reads(from_ref(&image))?[0])?);
    }
    for name in ["upload", "read"] {
        let records = recording_records();
        let record = records.iter().find(|record| record.pass == name).expect("a pass");
        println!("{name}: {:?} {:?}", record.nodes, record.refused);
    }
    Ok(())
}

#[test]
fn a_pass_that_reads_or_writes_the_host_is_computed() {
    let Some(text) = printed("refusals_of_this_process", "", "") else { return };
    for name in ["upload", "read"] {
        assert!(text.contains(&format!("{name}: None Some(\"it copies from or to the host\")")), "{text}");
    }
}

/// More kinds of passes than are remembered.
#[test]
#[ignore = "the others start it"]
fn many_kinds_of_this_process() -> Result<()> {
    let (device, recordings) = (cuda::open(0)?, Recordings::default());
    let total = Var::new(&[0_f32], &device)?;
    for round in 1..=2 {
        for size in 1..=60_usize {
            for seed in 1..=4 {
                let image = Tensor::full(seed as f32, size, &device)?;
                let pass = Pass { name: "count", inputs: &[&image], overwritten: from_ref(&total) };
                let found = recordings.run(&pass, |inputs| {
                    let counted = (total.as_detached_tensor() + 1.0)?;
                    total.as_detached_tensor().slice_set(&counted, 0, 0)?;
                    Ok(vec![(&inputs[0] * 2.0)?])
                })?;
                assert_eq!(found[0].to_vec1::<f32>()?, vec![2.0 * seed as f32; size], "{round}");
            }
        }
    }
    assert_eq!(total.to_vec1::<f32>()?, [480.0]);
    report();
    Ok(())
}

#[test]
fn kinds_of_passes_that_are_forgotten_are_right() {
    let Some(text) = printed("many_kinds_of_this_process", "", "") else { return };
    assert_eq!(lines(&text, "recorded").len(), 60, "{text}");
}

/// Threads that use a GPU at the same time.
#[test]
#[ignore = "the others start it"]
fn threads_of_this_process() -> Result<()> {
    let small = PspNetConfig { layers: [1; 4], width: 8, ..PspNetConfig::default() };
    let work = |seed: usize| -> Result<u64> {
        let device = cuda::open(0)?;
        let network = network(&small.clone().into(), DType::F32, &device);
        let target = Target::new(&network, NormStatistics::Running);
        let (image, label) = case(seed, SIZE, &device)?;
        let mut bits = Vec::new();
        for _ in 0..6 {
            let found = input_gradient(&target, &image, &label, PixelObjective::Gain).expect("a gradient");
            bits.push(hash(&found.gradient)?);
        }
        assert!(bits.iter().all(|other| *other == bits[0]));
        report();
        Ok(bits[0])
    };
    let alone = work(0)?;
    let together = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| work(0))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).collect::<Result<Vec<_>>>()
    })?;
    assert_eq!(together, [alone; 3]);
    Ok(())
}

#[test]
fn threads_that_share_a_gpu_do_not_record() {
    let Some(text) = printed("threads_of_this_process", "", "") else { return };
    // The first was alone.
    assert_eq!(lines(&text, "recorded").len(), 1, "{text}");
    assert!(lines(&text, "refused").is_empty(), "{text}");
}

#[test]
fn recorded_trainings_have_the_same_bits() {
    let Some(said) = compared("trainings_of_this_process", "") else { return };
    for kind in ["recorded training", "recorded gradient"] {
        assert!(said.iter().any(|line| line == kind), "{said:?}");
    }
    assert!(said.iter().all(|line| line.starts_with("recorded")), "{said:?}");
}
