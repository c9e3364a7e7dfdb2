//! A child process with faults of the emulated GPU, and what it says.

use candle_core::{DType, Device, Tensor};
use robustseg_ops::cuda;
use std::process::Command;

/// Numbers between -1 and 1, the same for the same shape.
pub(crate) fn numbers(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> =
        (0..count).map(|index| ((index * 7919 + count) % 1999) as f32 / 999.5 - 1.0).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// The largest difference, as a share of the largest value.
pub(crate) fn difference(expected: &Tensor, found: &Tensor) -> f64 {
    let values = |tensor: &Tensor| -> Vec<f64> {
        let tensor = tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    };
    let (expected, found) = (values(expected), values(found));
    assert!(found.iter().all(|value| value.is_finite()));
    let largest = expected.iter().fold(1e-3_f64, |largest, value| largest.max(value.abs()));
    expected.iter().zip(&found).fold(0.0_f64, |most, (a, b)| most.max((a - b).abs())) / largest
}

/// Prints warnings, one per line.
pub(crate) struct Warnings;

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Line;
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                println!("warning: {value:?}");
            }
        }
        event.record(&mut Line);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// All ways other than cuDNN's older interface.
pub(crate) const OTHERS: &str = "cublaslt,graph,padding";

/// The output of a child process with these faults, which does the ignored `test`, checks every number, and
/// leaves out some ways. `None` without an emulated GPU.
pub(crate) fn with(test: &str, faults: &str, left_out: &str) -> Option<String> {
    let here =
        (cuda::count() > 0).then(|| cuda::open(0).ok().and_then(|device| cuda::name(&device))).flatten();
    if !here.is_some_and(|name| name.contains("emulated")) {
        eprintln!("no emulated GPU here: not tested");
        return None;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("GPU_EMULATOR_FAULTS", faults)
        .env("ROBUSTSEG_GPU_WITHOUT", left_out)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success(), "{faults}: {text}{}", String::from_utf8_lossy(&child.stderr));
    Some(text)
}

pub(crate) fn lines<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(start)).collect()
}

/// Checks the warnings of a child process with these faults.
pub(crate) fn said(faults: &str, text: &str, warnings: &[&str]) {
    let said = lines(text, "warning: ");
    assert_eq!(said.len(), warnings.len(), "{faults}: {said:?}");
    for warning in warnings {
        assert!(said.iter().any(|line| line.contains(warning)), "{faults}: {said:?}");
    }
}
