//! The test of the program semseg (Zhao et al., `tool/test.py`), which DDC-AT's program shares.
//!
//! The long side is scaled to `long_side` bilinearly. A scaled image that is smaller than the crop
//! is padded with the network's mean on both sides, the odd pixel below and to the right. Crops
//! start every two thirds of their size, rounded up, and the last ones end at the border. Each
//! crop's logits are brought to its size as the network prescribes, and their softmax is averaged
//! where crops overlap. The padding is cut off, and the probabilities are interpolated to the size
//! of the label.

use candle_core::Tensor;
use robustseg_attacks::{IGNORE_LABEL, Model};
use robustseg_ops::{Alignment, log_probabilities, upsample_bilinear};
use serde::{Deserialize, Serialize};

use super::probabilities::{probabilities, resized};
use super::{Rules, check_scales, check_size, refuse, scales_in_words};
use crate::Result;
use crate::grid::{Grid, add};
use crate::window::Views;

/// The number of crops that pass through the network together.
const AT_ONCE: usize = 16;

/// The settings of semseg's test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Semseg {
    /// The length to which the image's longer side is scaled: 512 for PASCAL VOC and ADE20K, 2048
    /// for Cityscapes.
    pub long_side: usize,
    /// Side of a crop: 473 for PASCAL VOC and ADE20K, 713 for Cityscapes.
    pub crop: usize,
    /// Further factors of `long_side`, whose probabilities are averaged.
    pub scales: Vec<f64>,
    /// Whether to average with the mirrored crops. semseg does; DDC-AT does on clean images only.
    pub flip: bool,
    /// What an attack perturbs.
    pub attack: AttackedPart,
}

impl Default for Semseg {
    fn default() -> Self {
        Self { long_side: 512, crop: 473, scales: vec![1.0], flip: false, attack: AttackedPart::default() }
    }
}

/// What an attack perturbs in a protocol with crops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AttackedPart {
    /// The image of the dataset, through the whole protocol. All crops are in memory at once.
    #[default]
    Protocol,
    /// Each crop alone with its part of the label, as in DDC-AT's test. Where crops overlap, a
    /// pixel has a perturbation in each. The label is scaled to the nearest pixel and padded with
    /// unlabelled pixels; the padding of the image is perturbed too.
    Crops,
}

/// The sizes at one scale of one image.
struct Layout {
    /// Height and width of the image.
    image: [usize; 2],
    /// Those after scaling.
    scaled: [usize; 2],
    /// Padding above and to the left.
    before: [usize; 2],
    grid: Grid,
}

impl Semseg {
    /// Distance between neighbouring crops in pixels.
    fn stride(&self) -> usize {
        (self.crop as f64 * (2.0 / 3.0)).ceil() as usize
    }

    fn layout(&self, [height, width]: [usize; 2], scale: f64) -> Layout {
        let long = (scale * self.long_side as f64).round_ties_even();
        let other = |long_side: usize, short_side: usize| {
            ((long / long_side as f64 * short_side as f64).round_ties_even() as usize).max(1)
        };
        let long = (long as usize).max(1);
        let scaled = if height > width { [long, other(height, width)] } else { [other(width, height), long] };
        let padding = scaled.map(|side| self.crop.saturating_sub(side));
        let [rows, columns] = [scaled[0] + padding[0], scaled[1] + padding[1]];
        let grid = Grid::new(rows, columns, self.crop, self.stride());
        Layout { image: [height, width], scaled, before: padding.map(|pixels| pixels / 2), grid }
    }

    /// The inputs of the network for this number of `crops`.
    fn views_of(&self, crops: usize) -> Vec<Views> {
        let count = crops.saturating_mul(if self.flip { 2 } else { 1 });
        vec![Views { count, height: self.crop, width: self.crop }]
    }

    /// The layouts of an image of `size` at all scales.
    fn layouts(&self, size: [usize; 2]) -> impl Iterator<Item = Layout> {
        self.scales.iter().map(move |&scale| self.layout(size, scale))
    }

    /// The crops (N, 3, crop, crop) of `image` (N, 3, H, W) and the parts (N, crop, crop) of `label`
    /// (N, H, W) that belong to them.
    pub(crate) fn crops(
        &self,
        image: &Tensor,
        label: &Tensor,
        padding: [f32; 3],
    ) -> candle_core::Result<Vec<(Tensor, Tensor)>> {
        let (_, _, height, width) = image.dims4()?;
        let mut found = Vec::new();
        for layout in self.layouts([height, width]) {
            // Rounding may leave [0, 1], which attacks refuse.
            let image = layout.padded(image, padding)?.clamp(0.0, 1.0)?;
            let label = layout.scaled_label(label)?;
            for (top, left) in layout.grid.positions() {
                let part = label.narrow(1, top, self.crop)?.narrow(2, left, self.crop)?;
                found.push((layout.cut(&image, top, left)?, part.contiguous()?));
            }
        }
        Ok(found)
    }

    /// The scores of `model` for an image of `size` from all its crops (N, 3, crop, crop), as logits
    /// (N, H, W, K).
    pub(crate) fn logits_of_crops(
        &self,
        model: &dyn Model,
        crops: &[Tensor],
        size: [usize; 2],
    ) -> candle_core::Result<Tensor> {
        let (mut sum, mut rest) = (None, crops);
        for layout in self.layouts(size) {
            let (own, others) = rest.split_at(layout.grid.count().min(rest.len()));
            rest = others;
            let windows = self.probabilities(model, own)?;
            sum = Some(add(sum, layout.joined(&windows)?)?);
        }
        let Some(sum) = sum else { candle_core::bail!("semseg needs at least one scale") };
        log_probabilities(&(sum / self.scales.len() as f64)?)
    }

    /// What the first scale's `crops` show of an image of `size`: (N, 3, H, W).
    pub(crate) fn picture(&self, crops: &[Tensor], size: [usize; 2]) -> candle_core::Result<Tensor> {
        let layout = self.layout(size, self.scales[0]);
        let pixels = |crop: &Tensor| crop.permute((0, 2, 3, 1))?.contiguous();
        let windows = crops.iter().take(layout.grid.count()).map(pixels);
        let picture = layout.joined(&windows.collect::<candle_core::Result<Vec<_>>>()?)?;
        picture.clamp(0.0, 1.0)?.permute((0, 3, 1, 2))?.contiguous()
    }

    /// The scores (N, h, w, K) of one `crop` (N, 3, crop, crop), as logits.
    pub(crate) fn logits_of_crop(&self, model: &dyn Model, crop: &Tensor) -> candle_core::Result<Tensor> {
        if !self.flip {
            return model.logits(crop);
        }
        log_probabilities(&probabilities(model, crop, [self.crop; 2], true)?)
    }

    /// The probabilities (N, crop, crop, K) in each crop.
    fn probabilities(&self, model: &dyn Model, crops: &[Tensor]) -> candle_core::Result<Vec<Tensor>> {
        let mut found = Vec::with_capacity(crops.len());
        let Some(images) = crops.first().map(|crop| crop.dim(0)).transpose()? else { return Ok(found) };
        for together in crops.chunks((AT_ONCE / images.max(1)).max(1)) {
            let of_all = probabilities(model, &Tensor::cat(together, 0)?, [self.crop; 2], self.flip)?;
            for index in 0..together.len() {
                found.push(of_all.narrow(0, index * images, images)?);
            }
        }
        Ok(found)
    }
}

impl Layout {
    /// `image` (N, 3, H, W), f32, scaled and padded.
    fn padded(&self, image: &Tensor, padding: [f32; 3]) -> candle_core::Result<Tensor> {
        let Self { scaled: [height, width], before: [top, left], grid, .. } = self;
        let image = resized(image, self.scaled)?;
        let (below, right) = (grid.rows - height - top, grid.columns - width - left);
        if [*top, *left, below, right] == [0; 4] {
            return Ok(image);
        }
        let inside = |row: usize, column: usize| {
            (*top..top + height).contains(&row) && (*left..left + width).contains(&column)
        };
        let mut border = vec![0.0; 3 * grid.rows * grid.columns];
        for (value, plane) in padding.iter().zip(border.chunks_mut(grid.rows * grid.columns)) {
            for (pixel, at) in plane.iter_mut().enumerate() {
                if !inside(pixel / grid.columns, pixel % grid.columns) {
                    *at = *value;
                }
            }
        }
        let border = Tensor::from_vec(border, (1, 3, grid.rows, grid.columns), image.device())?;
        let image = image.pad_with_zeros(2, *top, below)?.pad_with_zeros(3, *left, right)?;
        image.broadcast_add(&border)
    }

    /// The crop at `top` and `left` of a padded image.
    fn cut(&self, padded: &Tensor, top: usize, left: usize) -> candle_core::Result<Tensor> {
        padded.narrow(2, top, self.grid.height)?.narrow(3, left, self.grid.width)?.contiguous()
    }

    /// `label` (N, H, W) scaled as `OpenCV`'s `INTER_NEAREST` does, padded with unlabelled pixels.
    fn scaled_label(&self, label: &Tensor) -> candle_core::Result<Tensor> {
        let Self { image, scaled, before, grid } = self;
        let nearest = |axis: usize| -> Vec<usize> {
            let step = image[axis] as f64 / scaled[axis] as f64;
            (0..scaled[axis]).map(|at| ((at as f64 * step) as usize).min(image[axis] - 1)).collect()
        };
        let (rows, columns) = (nearest(0), nearest(1));
        let labels: Vec<Vec<Vec<u8>>> = label.to_vec3()?;
        let mut all = vec![IGNORE_LABEL; labels.len() * grid.rows * grid.columns];
        for (labels, out) in labels.iter().zip(all.chunks_mut(grid.rows * grid.columns)) {
            for (row, &from) in rows.iter().enumerate() {
                let start = (before[0] + row) * grid.columns + before[1];
                for (out, &column) in out[start..].iter_mut().zip(&columns) {
                    *out = labels[from][column];
                }
            }
        }
        Tensor::from_vec(all, (labels.len(), grid.rows, grid.columns), label.device())
    }

    /// The average of `windows` (N, crop, crop, C) in the size of the image: (N, H, W, C).
    fn joined(&self, windows: &[Tensor]) -> candle_core::Result<Tensor> {
        let [height, width] = self.scaled;
        let all = self.grid.average(windows)?;
        let inner = all.narrow(1, self.before[0], height)?.narrow(2, self.before[1], width)?.contiguous()?;
        upsample_bilinear(&inner, self.image[0], self.image[1], Alignment::HalfPixel)
    }
}

impl Rules for Semseg {
    fn name(&self) -> &'static str {
        "semseg"
    }

    fn words(&self) -> String {
        let Self { long_side, crop, flip, attack, .. } = self;
        let flip = if *flip { ", with mirrored crops" } else { "" };
        let scales = scales_in_words(&self.scales);
        let attacked = match attack {
            AttackedPart::Protocol => "attacked through the protocol",
            AttackedPart::Crops => "attacked crop by crop",
        };
        let stride = self.stride();
        format!("semseg: long side {long_side}{scales}, crops of {crop} every {stride}{flip}, {attacked}")
    }

    fn validate(&self) -> Result<()> {
        check_size("protocol.semseg.long_side", self.long_side)?;
        check_size("protocol.semseg.crop", self.crop)?;
        check_scales("protocol.semseg.scales", &self.scales)?;
        if self.attack == AttackedPart::Crops && self.scales.len() > 1 {
            let reason = "crops of one scale are attacked; give one scale, or attack: protocol";
            return refuse("protocol.semseg.scales", reason);
        }
        Ok(())
    }

    fn views(&self, height: usize, width: usize) -> Vec<Views> {
        self.views_of(self.layouts([height, width]).map(|layout| layout.grid.count()).sum())
    }

    fn attacked_views(&self, height: usize, width: usize) -> Vec<Views> {
        match self.attack {
            AttackedPart::Protocol => self.views(height, width),
            AttackedPart::Crops => self.views_of(1),
        }
    }

    fn logits(&self, model: &dyn Model, image: &Tensor, padding: [f32; 3]) -> candle_core::Result<Tensor> {
        let (_, _, height, width) = image.dims4()?;
        let mut crops = Vec::new();
        for layout in self.layouts([height, width]) {
            let image = layout.padded(image, padding)?;
            for (top, left) in layout.grid.positions() {
                crops.push(layout.cut(&image, top, left)?);
            }
        }
        self.logits_of_crops(model, &crops, [height, width])
    }
}
