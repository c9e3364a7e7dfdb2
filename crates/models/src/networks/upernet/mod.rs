//! UPerNet (Xiao et al. 2018) on ConvNeXt (Liu et al. 2022).
//!
//! Variables have the names of the hub's files `openmmlab/upernet-convnext-*`. There the weights of
//! linear layers are (O, I); in files of ours they have two further axes of size 1, (O, I, 1, 1).
//! `auxiliary_head.*` exists with an auxiliary loss alone.
//!
//! The checkpoints of SEA's authors have the same names behind `decode_head.`. In their backbone
//! `downsample_layers.0.{0,1}` are `embeddings.{patch_embeddings,layernorm}` here, or with the
//! convolutional stem `downsample_layers.0.stem.I` `embeddings.stem.I` (I is 0, 1, 3, 4),
//! `downsample_layers.S.I` `encoder.stages.S.downsampling_layer.I`, `stages.S.B`
//! `encoder.stages.S.layers.B` with `norm` for `layernorm` and `gamma` for `layer_scale_parameter`,
//! and `normS` `hidden_states_norms.stageN` with N = S + 1.

mod auxiliary;
mod convnext;
mod head;
mod settings;
mod unit;

use self::auxiliary::Auxiliary;
use self::convnext::ConvNeXt;
use self::head::Head;
pub use self::settings::{ConvNeXtSize, ConvNeXtStem, UperNetConfig};
use crate::Error;
use crate::layers::{Heads, Layers, Maps, Settings, within};
use crate::run::Run;
use crate::supervision;
use crate::transformer_layer::within_drop_path;
use crate::variables::Variables;
use candle_core::{Result, Tensor};

impl Settings for UperNetConfig {
    fn validate(&self) -> crate::Result<()> {
        self.depths.iter().try_for_each(|&depth| within("depths", depth, 256))?;
        self.dims.iter().try_for_each(|&dim| within("dims", dim, 4096))?;
        within("head_channels", self.head_channels, 4096)?;
        if self.stem == ConvNeXtStem::Convolutions && !self.dims[0].is_multiple_of(2) {
            let reason = format!("must begin with an even number for this stem, found {}", self.dims[0]);
            return Err(Error::Setting { field: "dims", reason });
        }
        within_drop_path(self.drop_path)?;
        supervision::validate(self.auxiliary_loss)
    }

    fn layers(&self, heads: &Heads<'_>, variables: &Variables<'_>) -> Result<Box<dyn Layers>> {
        let backbone = ConvNeXt::new(self, &variables.backbone())?;
        let head = |outputs: usize, variables: &Variables<'_>| {
            let sizes = [self.head_channels, outputs];
            Head::new(self.dims, sizes, heads.alignment, &variables.at("decode_head"))
        };
        let mut all = vec![head(heads.classes, variables)?];
        for branch in heads.branches {
            all.push(head(branch.channels, &variables.at(&branch.name))?);
        }
        let sizes = [self.dims[2], self.head_channels, heads.classes];
        let auxiliary = Auxiliary::new(self.auxiliary_loss, sizes, variables)?;
        Ok(Box::new(UperNet { backbone, heads: all, auxiliary }))
    }

    fn small() -> Self {
        Self { depths: [1; 4], dims: [8, 8, 16, 16], head_channels: 16, ..Self::default() }
    }

    fn scale(&self) -> (&'static str, usize) {
        ("head_channels", self.head_channels)
    }

    fn smallest_image(&self) -> usize {
        // The last stage has one pixel for eight by eight of the stem's map, which is a quarter of
        // the image: rounded down by patches, up by convolutions.
        match self.stem {
            ConvNeXtStem::Patches => 32,
            ConvNeXtStem::Convolutions => 29,
        }
    }
}

/// Backbone, heads of one shape (the main one and the branches), and the auxiliary head.
struct UperNet {
    backbone: ConvNeXt,
    heads: Vec<Head>,
    auxiliary: Option<Auxiliary>,
}

impl Layers for UperNet {
    fn forward(&self, x: &Tensor, heads: usize, run: &mut Run<'_, '_>) -> Result<Vec<Tensor>> {
        let maps = self.backbone.forward(x, run)?;
        let logits = self.heads.iter().take(heads).map(|head| head.forward(&maps, run));
        let mut logits = logits.collect::<Result<Vec<_>>>()?;
        if let Some(auxiliary) = self.auxiliary.as_ref().filter(|_| heads > self.heads.len()) {
            logits.push(auxiliary.forward(&maps[2], run)?);
        }
        Ok(logits)
    }

    fn auxiliary_loss(&self) -> Option<f64> {
        self.auxiliary.as_ref().map(|auxiliary| auxiliary.weight)
    }

    fn multiply_adds(&self, size: [usize; 2]) -> u64 {
        let (sizes, backbone) = self.backbone.cost(size);
        backbone.saturating_add(self.heads[0].cost(&sizes))
    }

    fn maps(&self, size: [usize; 2]) -> Maps {
        let mut maps = self.backbone.maps(size);
        let (sizes, _) = self.backbone.cost(size);
        let [first, all] = self.heads[0].maps(&sizes);
        // At each size a lateral map before and after its norm, the sum, and the smoothed map before
        // and after its norm; at the first size the fused map before and after its norm.
        let head = all.saturating_mul(5).saturating_add(first.saturating_mul(2));
        let auxiliary = self.auxiliary.as_ref().map_or(0, |auxiliary| auxiliary.kept(sizes[2]));
        let heads = head.saturating_mul(self.heads.len() as u64).saturating_add(auxiliary);
        maps.largest = maps.largest.max(first.saturating_mul(3));
        maps.and_kept(heads)
    }
}
