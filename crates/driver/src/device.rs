//! Which device holds the tensors: the one place that decides it.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::str::FromStr;

use candle_core::Device;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::exit::Usage;
use crate::memory::no_threads;

/// The device that a spec or the command line asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU if this build and this machine have one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl DeviceChoice {
    /// The device itself, with the threads that compute beside it.
    ///
    /// # Errors
    /// [`Usage`] if a GPU is asked for that this build cannot use, [`OutOfMemory`](crate::exit::OutOfMemory) if there is no room for the threads.
    pub fn open(self) -> anyhow::Result<Device> {
        // Where memory is short, whoever used them first would panic. They may be there already.
        if let Err(error) = rayon::ThreadPoolBuilder::new().build_global()
            && let Some(reason) = error.source()
        {
            return Err(no_threads(reason).into());
        }
        match self {
            Self::Auto | Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(_) => Err(Usage(format!(
                "device {self}: this robustseg was built without CUDA; take --device cpu, or a build with the feature \
                 `cuda`"
            ))
            .into()),
        }
    }
}

/// The device as results name it, for example `cpu x 2`: with the threads that compute.
pub fn describe(device: &Device) -> String {
    match device {
        Device::Cpu => format!("cpu x {}", rayon::current_num_threads()),
        other => format!("{:?}", other.location()),
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(0) => f.write_str("cuda"),
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
            ("cuda", _) => Ok(Self::Cuda(0)),
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
    fn names_read_as_they_are_written() {
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(0), DeviceChoice::Cuda(3)] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for wrong in ["gpu", "cuda:", "cuda:x", ""] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }
}
