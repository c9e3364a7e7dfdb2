//! Pretrained weights of the backbone, from a file of any network that contains it.

use crate::foreign::{self, is_counter};
use crate::spelling::Spelling;
use crate::stored::stored;
use crate::{Error, Network, Parameter, Part, Result, normaliser};
use candle_core::{Tensor, Var};
use robustseg_files::sealed::{Sealed, read};
use robustseg_words::counted;
use safetensors::Dtype;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// Most names that [`Taken`] shows.
const SHOWN: usize = 4;

/// The tensors that a network took from a file of weights, and those that it left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Number of tensors that are now in the network.
    pub tensors: usize,
    /// Types of numbers that were converted to f32, by PyTorch's short names.
    pub converted: BTreeSet<&'static str>,
    /// Names of the file's other tensors, in alphabetical order.
    pub left: Vec<String>,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "took {} of the backbone", counted(self.tensors, "tensor"))?;
        if !self.converted.is_empty() {
            let from = self.converted.iter().copied().collect::<Vec<_>>().join(" and ");
            write!(f, ", converted from {from} to f32")?;
        }
        match &self.left[..] {
            [] => f.write_str("; left none"),
            left => {
                let shown = left.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
                let more = if left.len() > SHOWN { ", ..." } else { "" };
                write!(f, "; left {} of the file: {shown}{more}", counted(left.len(), "tensor"))
            }
        }
    }
}

impl Network {
    /// Takes the backbone's weights and statistics from a safetensors file with the names of its
    /// [`Backbone`](crate::Backbone), which may have a prefix of
    /// [`WRAPPERS`](crate::WRAPPERS), as `module.model.` in the robust ImageNet models of Salman et
    /// al. (2020). f16, bf16 and f64 are converted to f32. Other tensors of the file, such as a
    /// classifier's, are ignored.
    ///
    /// # Errors
    /// If the file cannot be read, a tensor of the backbone is missing or has another shape, the
    /// file's backbone has further tensors, as a deeper one has, or the file states another
    /// normalisation of images than the network's. The network is then unchanged.
    pub fn load_backbone(&self, path: &Path) -> Result<Taken> {
        let refuse = |reason: String| Error::Checkpoint { path: path.to_path_buf(), reason };
        let bytes = read(path).map_err(refuse)?;
        let file = Sealed::parse(&bytes).map_err(refuse)?.tensors;
        let names: Vec<&str> = file.names().into_iter().filter(|name| !is_counter(name)).collect();
        let spelling = Spelling::of(&names, self.backbone().map(|(name, _)| bare(name)));
        let no_backbone = |reason: String| {
            let settings = self.config().architecture.settings();
            let start = || foreign::start(&file).filter(|_| !spelling.is_known());
            let hint = settings.foreign(&file).or_else(start).or_else(|| settings.fitting(&file));
            let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
            refuse(format!("is no backbone of this model: {reason}{hint}"))
        };
        let mut values: Vec<(&Var, Tensor)> = Vec::new();
        let mut left: BTreeSet<&str> = names.iter().copied().collect();
        let mut layers = BTreeSet::new();
        let mut converted = BTreeSet::new();
        for (name, parameter) in self.backbone() {
            let name = spelling.name(bare(name));
            let tensor = stored(&file, &name, parameter.var.shape(), self.device())
                .map_err(|error| no_backbone(error.to_string()))?;
            converted.extend(file.tensor(&name).ok().and_then(|view| converted_type(view.dtype())));
            layers.extend(spelling.layer(&name).map(str::to_owned));
            left.remove(&*name);
            values.push((&parameter.var, tensor));
        }
        let more = |name: &&&str| {
            name.starts_with("backbone.") || spelling.layer(name).is_some_and(|layer| layers.contains(layer))
        };
        if let Some(name) = left.iter().find(more) {
            return Err(no_backbone(format!("tensor {name} has no place in it")));
        }
        normaliser::require_same(&file, &names, self.config()).map_err(refuse)?;
        let tensors = values.len();
        for (var, value) in values {
            robustseg_ops::assign(var, &value)?;
        }
        Ok(Taken { tensors, converted, left: left.into_iter().map(str::to_owned).collect() })
    }

    /// The backbone's variables by name.
    fn backbone(&self) -> impl Iterator<Item = (&String, &Parameter)> {
        self.parameters().iter().filter(|(_, parameter)| parameter.part == Part::Backbone)
    }
}

/// The name of the backbone's variable `name` without the name of the part.
fn bare(name: &str) -> &str {
    name.strip_prefix("backbone.").unwrap_or(name)
}

fn converted_type(dtype: Dtype) -> Option<&'static str> {
    match dtype {
        Dtype::F16 => Some("f16"),
        Dtype::BF16 => Some("bf16"),
        Dtype::F64 => Some("f64"),
        _ => None,
    }
}
