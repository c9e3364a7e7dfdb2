//! The only place that chooses the device and its precision.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device};
use robustseg_models::{Network, NetworkConfig, Outline};
use robustseg_ops::{Arithmetic, ConvolutionChoice, Factors};
use robustseg_ranks::Launch;
use robustseg_words::counted;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
#[cfg(feature = "cuda")]
use serde_json::json;

use crate::exit::Usage;
use crate::memory::no_threads;
use crate::ranks;

/// The device that a spec or the command line requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU if this build supports it and the machine has one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU: the first one, or in a run of several processes one for each of those on this machine.
    Gpu,
    /// The GPU with this number.
    Cuda(usize),
}

impl DeviceChoice {
    /// Opens the device and starts the threads that compute on the CPU.
    ///
    /// # Errors
    /// [`Usage`] if the requested GPU cannot be used by this build,
    /// [`OutOfMemory`](crate::exit::OutOfMemory) if there is no memory for the threads.
    pub fn open(self) -> anyhow::Result<Device> {
        // If memory is short, the first use of the threads would panic. They may already exist.
        if let Err(error) = rayon::ThreadPoolBuilder::new().build_global()
            && let Some(reason) = error.source()
        {
            return Err(no_threads(reason).into());
        }
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto if gpus() == 0 => Ok(Device::Cpu),
            Self::Auto | Self::Gpu => self.open_gpu(own_gpu(gpus())),
            Self::Cuda(index) => self.open_gpu(index),
        }
    }

    #[cfg(feature = "cuda")]
    fn open_gpu(self, index: usize) -> anyhow::Result<Device> {
        let count = gpus();
        if index >= count {
            let text = format!(
                "device {self}: NVIDIA's driver can use {count} GPUs of this machine; take another, or --device cpu"
            );
            return Err(Usage(text).into());
        }
        Ok(robustseg_ops::cuda::open(index)?)
    }

    #[cfg(not(feature = "cuda"))]
    fn open_gpu(self, _: usize) -> anyhow::Result<Device> {
        let text = format!(
            "device {self}: this robustseg was built without CUDA; take --device cpu, or a build with the feature `cuda`"
        );
        Err(Usage(text).into())
    }
}

/// The number of this process's GPU among the machine's `count`.
fn own_gpu(count: usize) -> usize {
    let ranks = ranks::current();
    if ranks.size() == 1 {
        return 0;
    }
    let place = Launch::of_this_process().local_rank.unwrap_or(ranks.rank());
    place % count.max(1)
}

#[cfg(feature = "cuda")]
fn gpus() -> usize {
    robustseg_ops::cuda::count()
}

#[cfg(not(feature = "cuda"))]
fn gpus() -> usize {
    0
}

/// The precision of a network. Variables, statistics, sums and the steps of attacks are always f32
/// or wider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Products and activations are f32.
    #[default]
    F32,
    /// The factors of products are rounded to ten bits, for the matrix units of a GPU. Activations
    /// are f32.
    Tf32,
    /// Activations and the factors of products are bf16. Activations then take half the memory. A
    /// processor with AVX512-BF16 multiplies them at twice the rate of f32; on any other one bf16 is
    /// slower than f32.
    Bf16,
}

/// How a GPU's convolution algorithms are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Convolutions {
    /// By the library's prediction, which is the same at every start. A resumed run therefore has
    /// the same bits.
    #[default]
    Predicted,
    /// By measuring the fastest once per size. The choice may differ between starts, and with it
    /// the last bits.
    Measured,
}

impl Precision {
    /// The name familiar to PyTorch users.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "fp32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }

    /// Requires that `device` supports this precision.
    ///
    /// # Errors
    /// [`Usage`] for tf32 on the CPU.
    pub fn require_on(self, device: &Device) -> Result<(), Usage> {
        if device.is_cpu() && self == Self::Tf32 {
            return Err(Usage(
                "precision tf32: the CPU has no such products; take f32 or bf16, or a GPU".into(),
            ));
        }
        Ok(())
    }

    /// The type of a network's activations.
    fn activations(self) -> DType {
        if self == Self::Bf16 { DType::BF16 } else { DType::F32 }
    }

    /// What the network of `model` costs in this precision.
    ///
    /// # Errors
    /// If the configuration does not describe a network.
    pub(crate) fn outline(self, model: &NetworkConfig) -> anyhow::Result<Outline> {
        Ok(model.outline()?.with_activations(self.activations()))
    }

    /// Sets the precision of `network`, and how a GPU chooses its `convolutions`.
    ///
    /// # Errors
    /// [`Usage`] for tf32 if the network is on the CPU.
    pub fn set(self, network: &mut Network, convolutions: Convolutions) -> anyhow::Result<()> {
        self.require_on(network.device())?;
        let choice = match convolutions {
            Convolutions::Predicted => ConvolutionChoice::Predicted,
            Convolutions::Measured => ConvolutionChoice::Measured,
        };
        let activations = self.activations();
        let factors = if self == Self::Tf32 { Factors::Tf32 } else { Factors::F32 };
        let arithmetic = Arithmetic { factors, choice };
        Ok(network.set_precision(robustseg_models::Precision { activations, arithmetic })?)
    }
}

/// The peak memory of tensors in bytes, if known. On the CPU, the peak memory of the process.
pub fn peak_bytes(device: &Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return robustseg_ops::cuda::peak_bytes(device);
    }
    let _ = device;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The algorithms of convolutions on a GPU so far. Null if there were no convolutions.
#[cfg(feature = "cuda")]
pub fn convolutions() -> Value {
    let records = robustseg_ops::cuda::convolution_records();
    let row = |record: robustseg_ops::cuda::ConvolutionRecord| {
        json!({
            "product": record.product, "elements": record.elements, "batch": record.batch,
            "input": record.input, "output": record.output, "kernel": record.kernel,
            "stride": record.stride, "padding": record.padding, "dilation": record.dilation,
            "algorithm": record.algorithm, "math": record.math, "repeatable": record.repeatable,
            "workspace": record.workspace, "milliseconds": record.milliseconds,
            "dismissed": record.dismissed, "instead_of": record.instead_of,
            "replaced_milliseconds": record.replaced_milliseconds, "folded_norm": record.folded_norm,
        })
    };
    if records.is_empty() { Value::Null } else { records.into_iter().map(row).collect() }
}

/// The algorithms of convolutions on a GPU, which this build does not support.
#[cfg(not(feature = "cuda"))]
pub fn convolutions() -> Value {
    Value::Null
}

/// The passes that a GPU repeats, and why it does not repeat others. Null before the first of them.
#[cfg(feature = "cuda")]
pub fn recordings() -> Value {
    let records = robustseg_ops::cuda::recording_records();
    let row = |record: robustseg_ops::cuda::RecordingRecord| {
        json!({
            "pass": record.pass, "inputs": record.inputs, "nodes": record.nodes, "refused": record.refused,
        })
    };
    if records.is_empty() { Value::Null } else { records.into_iter().map(row).collect() }
}

/// The passes that a GPU repeats, which this build does not support.
#[cfg(not(feature = "cuda"))]
pub fn recordings() -> Value {
    Value::Null
}

/// The device as named in results: `cpu: AMD EPYC 7B13, 2 threads` with the number of computing
/// threads, or the model of a GPU.
pub fn describe(device: &Device) -> String {
    match device {
        Device::Cpu => {
            let threads = rayon::current_num_threads();
            format!("cpu: {}, {}", processor(), counted(threads, "thread"))
        }
        #[cfg(feature = "cuda")]
        gpu => robustseg_ops::cuda::name(gpu).unwrap_or_else(|| "GPU".into()),
        #[cfg(not(feature = "cuda"))]
        other => format!("{:?}", other.location()),
    }
}

/// The processor's model, or its architecture if the system does not report a model.
fn processor() -> String {
    let known = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| model_name(&text));
    known.unwrap_or_else(|| std::env::consts::ARCH.into())
}

/// The model in the text of Linux's `/proc/cpuinfo`. Some architectures do not report one there.
fn model_name(text: &str) -> Option<String> {
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    text.lines().find_map(value).filter(|model| !model.is_empty())
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu => f.write_str("cuda"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let index = |text: &str| text.parse().ok().map(Self::Cuda);
        match (text, text.strip_prefix("cuda:").and_then(index)) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            ("cuda", _) => Ok(Self::Gpu),
            (_, Some(cuda)) => Ok(cuda),
            _ => Err(format!("expected auto, cpu, cuda or cuda:N, found `{text}`")),
        }
    }
}

impl Serialize for DeviceChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeviceChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for DeviceChoice {
    fn schema_name() -> Cow<'static, str> {
        "Device".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(auto|cpu|cuda(:[0-9]+)?)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_named_by_its_model_or_by_its_kind() {
        let text = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC  7B13 \n\nmodel name\t: other\n";
        assert_eq!(model_name(text).as_deref(), Some("AMD EPYC 7B13"));
        for text in ["", "processor\t: 0\nBogoMIPS\t: 50.00\n", "model name\t:\n"] {
            assert_eq!(model_name(text), None, "{text}");
        }
        let described = describe(&Device::Cpu);
        assert!(described.starts_with("cpu: ") && described.contains(" thread"), "{described}");
        assert!(processor().len() > 2);
    }

    #[test]
    fn names_read_as_they_are_written() {
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Gpu, DeviceChoice::Cuda(3)] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for wrong in ["gpu", "cuda:", "cuda:x", ""] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }
}
