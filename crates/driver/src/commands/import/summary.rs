//! What an import took, for people and as JSON.

use std::fmt;
use std::path::Path;

use robustseg_models::{NetworkConfig, NetworkSpec, Origin, Upsampling};
use robustseg_published::{Import, Kind, Product};
use robustseg_words::counted;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Most names of left tensors that people see.
const SHOWN: usize = 4;

#[derive(Serialize)]
pub(super) struct Summary<'a> {
    file: &'a str,
    sha256: Option<&'a str>,
    kind: &'static str,
    title: &'static str,
    out: String,
    backbone: bool,
    /// What a spec says about the network.
    model: NetworkSpec,
    network: &'static str,
    settings: Map<String, Value>,
    mean: [f32; 3],
    std: [f32; 3],
    upsampling: Upsampling,
    num_classes: Option<usize>,
    classes: Option<Vec<&'a str>>,
    tensors: usize,
    numbers: usize,
    left: &'a [String],
}

impl<'a> Summary<'a> {
    /// The import `plan` of `file` to `out`.
    pub(super) fn new(
        file: &'a str,
        kind: &'static Kind,
        plan: &'a Import,
        origin: &'a Origin,
        out: &Path,
    ) -> Self {
        let NetworkConfig { architecture, num_classes, mean, std, upsampling, .. } = plan.config();
        let backbone = kind.product == Product::Backbone;
        let out = out.display().to_string();
        let model = NetworkSpec {
            architecture: architecture.clone(),
            mean: *mean,
            std: *std,
            upsampling: *upsampling,
            pretrained: backbone.then(|| out.clone()),
        };
        let classes = origin.classes.as_ref();
        Self {
            file,
            sha256: origin.import.as_ref().map(|import| &*import.sha256),
            kind: kind.name,
            title: kind.title,
            out,
            backbone,
            model,
            network: architecture.name(),
            settings: architecture.fields(),
            mean: *mean,
            std: *std,
            upsampling: *upsampling,
            num_classes: (!backbone).then_some(*num_classes),
            classes: classes.map(|classes| classes.iter().map(|class| &*class.name).collect()),
            tensors: plan.taken(),
            numbers: plan.shapes().values().map(|shape| shape.iter().product::<usize>()).sum(),
            left: plan.left(),
        }
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.file, self.title)?;
        if let Some(classes) = self.num_classes {
            let settings = self.settings.iter().map(|(name, value)| format!(", {name} {}", bare(value)));
            let settings: String = settings.collect();
            writeln!(f, "network: {}{settings}, upsampling {}", self.network, bare(&json!(self.upsampling)))?;
            writeln!(f, "normalisation: mean {:?}, standard deviation {:?}", self.mean, self.std)?;
            let unnamed = "whose names are unknown; --manifest would name them";
            let names = self.classes.as_ref().map_or(unnamed.to_owned(), |classes| classes.join(", "));
            writeln!(f, "classes: {classes}, {names}")?;
        } else {
            let model = serde_json::to_string(&self.model).map_err(|_| fmt::Error)?;
            writeln!(f, "in a spec: model: {model}")?;
        }
        let shown: Vec<&str> = self.left.iter().take(SHOWN).map(String::as_str).collect();
        let more = if self.left.len() > SHOWN { ", ..." } else { "" };
        let shown = if shown.is_empty() { String::new() } else { format!(": {}{more}", shown.join(", ")) };
        let (taken, left) = (counted(self.tensors, "tensor"), self.left.len());
        writeln!(f, "took {taken} with {} numbers; left {left}{shown}", self.numbers)?;
        write!(f, "wrote {}", self.out)
    }
}

/// `value` as JSON, but a text without quotes.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
