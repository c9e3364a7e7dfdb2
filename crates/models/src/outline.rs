//! What a network costs, known from its shapes.

use candle_core::DType;

use crate::layers::Layers;
use crate::layers::Maps;

/// Bytes of an f32.
const BYTES: u64 = 4;

/// The costs of a network: its size, its multiply-adds and its memory. Memory is estimated from
/// below; measured peaks were 1.2 to 2.5 times as high.
///
/// ```
/// use robustseg_models::{NetworkConfig, PspNetConfig};
/// let pspnet50 = NetworkConfig::new(PspNetConfig::default(), 21).outline().unwrap();
/// assert_eq!(pspnet50.parameter_count(), 46_584_917);
/// assert!(pspnet50.forward_memory(1, 472, 472) < pspnet50.training_memory(1, 472, 472));
/// ```
pub struct Outline {
    layers: Box<dyn Layers>,
    parameters: usize,
    /// Bytes of a number in a map.
    map_bytes: u64,
}

impl Outline {
    /// The costs of `layers` with `parameters` trainable numbers.
    pub(crate) fn new(layers: Box<dyn Layers>, parameters: usize) -> Self {
        Self { layers, parameters, map_bytes: BYTES }
    }

    /// The same network with activations of type `elements`, f32 at first. With bf16 maps take half the
    /// memory.
    #[must_use]
    pub fn with_activations(self, elements: DType) -> Self {
        Self { map_bytes: elements.size_in_bytes() as u64, ..self }
    }

    pub(crate) fn layers(&self) -> &dyn Layers {
        &*self.layers
    }

    /// Trainable numbers. Running statistics do not count.
    pub fn parameter_count(&self) -> usize {
        self.parameters
    }

    /// Multiply-adds of one forward pass over one image of `height` x `width`, without the
    /// branches.
    pub fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        self.layers.multiply_adds([height, width])
    }

    /// Bytes for one training step on `batch` images of `height` x `width`: weights, velocities, and
    /// either all gradients or the maps that the forward pass keeps for the backward pass. The
    /// backward pass frees the maps while it makes the gradients.
    pub fn training_memory(&self, batch: usize, height: usize, width: usize) -> u64 {
        self.training(batch, self.maps(height, width).kept)
    }

    /// [`Outline::training_memory`] if the maps of blocks are computed again
    /// ([`Network::set_recompute`](crate::Network::set_recompute)).
    pub fn recomputing_memory(&self, batch: usize, height: usize, width: usize) -> u64 {
        self.training(batch, self.maps(height, width).recomputed)
    }

    /// Bytes for an attack's gradient on `batch` images of `height` x `width`: weights, and the
    /// maps that the forward pass keeps for the backward pass.
    pub fn gradient_memory(&self, batch: usize, height: usize, width: usize) -> u64 {
        self.weights().saturating_add(self.with_gradients(batch, self.maps(height, width).kept))
    }

    /// Bytes for a forward pass without a gradient on `batch` images of `height` x `width`:
    /// weights, and the largest maps that exist at the same time.
    pub fn forward_memory(&self, batch: usize, height: usize, width: usize) -> u64 {
        let maps = self.maps(height, width).largest.saturating_mul(batch as u64);
        self.weights().saturating_add(maps.saturating_mul(self.map_bytes))
    }

    /// Bytes of a training step that keeps `maps` numbers in the maps of each image.
    fn training(&self, batch: usize, maps: u64) -> u64 {
        (2 * self.weights()).saturating_add(self.with_gradients(batch, maps).max(self.weights()))
    }

    fn weights(&self) -> u64 {
        BYTES * self.parameters as u64
    }

    fn maps(&self, height: usize, width: usize) -> Maps {
        self.layers.maps([height, width])
    }

    /// Bytes of `maps` numbers for each of `batch` images, and half as much again for the gradients of the
    /// maps that the backward pass is at.
    fn with_gradients(&self, batch: usize, maps: u64) -> u64 {
        maps.saturating_mul(batch as u64).saturating_mul(self.map_bytes + self.map_bytes / 2)
    }
}

#[cfg(test)]
mod tests {
    use crate::{NetworkConfig, PspNetConfig};
    use candle_core::DType;

    #[test]
    fn memory_is_below_measured_peaks_and_not_far() {
        // Peaks of `robustseg bench`, in MB: layers, width, batch, side.
        for (layers, width, batch, side, peak) in [
            ([1, 1, 1, 1], 16, 4, 200, 152),
            ([3, 4, 6, 3], 16, 4, 200, 215),
            ([3, 4, 6, 3], 16, 2, 400, 368),
            ([3, 4, 6, 3], 16, 8, 200, 370),
            ([1, 1, 1, 1], 64, 2, 104, 551),
            ([3, 4, 6, 3], 32, 1, 200, 277),
        ] {
            let outline = NetworkConfig::new(PspNetConfig { layers, width, ..PspNetConfig::default() }, 21)
                .outline()
                .unwrap();
            let bytes = outline.training_memory(batch, side, side);
            let share = bytes as f64 / f64::from(peak << 20);
            assert!((0.4..1.0).contains(&share), "{layers:?} {width} {batch} {side}: {share}");
            let gradient = outline.gradient_memory(batch, side, side);
            let recomputing = outline.recomputing_memory(batch, side, side);
            // A part with all blocks of a stage saves nothing.
            assert!(recomputing <= bytes || layers == [1; 4]);
            let forward = outline.forward_memory(batch, side, side);
            assert!(gradient < bytes && forward < gradient);
            let halved = outline.with_activations(DType::BF16).forward_memory(batch, side, side);
            assert!(halved < forward && 2 * halved > forward);
        }
    }

    #[test]
    fn sizes_without_end_are_counted() {
        let outline = NetworkConfig::new(PspNetConfig::default(), 21).outline().unwrap();
        assert_eq!(outline.training_memory(usize::MAX, 8192, 8192), u64::MAX);
        assert_eq!(outline.forward_memory(usize::MAX, 8192, 8192), u64::MAX);
    }
}
