//! Which source pixels the target pixels of a convolution read, along one axis.

use crate::geometry::Geometry;

/// Pixels that share the loads of the kernel.
pub(super) const PIXELS: usize = 8;

/// The taps of each target pixel.
pub(super) struct Taps {
    /// Taps of the kernel.
    pub(super) kernel: usize,
    /// Number of source pixels.
    pub(super) sources: usize,
    /// For each target, the taps that are inside, each with its source pixel.
    inside: Vec<Vec<[usize; 2]>>,
    /// For each target, the first source pixel, if this target and the next ones read all taps, each
    /// one pixel further.
    runs: Vec<Option<usize>>,
}

impl Taps {
    /// The input pixels of each output pixel.
    pub(super) fn forward(g: &Geometry, axis: usize) -> Self {
        let source = |target: usize, tap: usize| {
            let source = (target * g.stride + tap * g.dilation).checked_sub(g.padding)?;
            (source < g.input[axis]).then_some(source)
        };
        Self::new([g.output[axis], g.input[axis]], g.kernel[axis], source)
    }

    /// The output pixels that read each input pixel. Tap k here is the convolution's last but k.
    pub(super) fn backward(g: &Geometry, axis: usize) -> Self {
        let source = |target: usize, tap: usize| {
            let source = (target + g.padding).checked_sub((g.kernel[axis] - 1 - tap) * g.dilation)?;
            (source % g.stride == 0 && source / g.stride < g.output[axis]).then_some(source / g.stride)
        };
        Self::new([g.input[axis], g.output[axis]], g.kernel[axis], source)
    }

    fn new(
        [targets, sources]: [usize; 2],
        kernel: usize,
        source: impl Fn(usize, usize) -> Option<usize>,
    ) -> Self {
        let inside: Vec<Vec<[usize; 2]>> = (0..targets)
            .map(|target| (0..kernel).filter_map(|tap| Some([tap, source(target, tap)?])).collect())
            .collect();
        let full = |target: usize| {
            let taps: &Vec<[usize; 2]> = inside.get(target)?;
            let [_, first] = *taps.first()?;
            let consecutive = taps.iter().enumerate().all(|(index, [_, source])| *source == first + index);
            (taps.len() == kernel && consecutive).then_some(first)
        };
        let run = |target: usize| {
            let first = full(target)?;
            (1..PIXELS).all(|next| full(target + next) == Some(first + next)).then_some(first)
        };
        let runs = (0..targets).map(run).collect();
        Self { kernel, sources, inside, runs }
    }

    /// Number of target pixels.
    pub(super) fn targets(&self) -> usize {
        self.inside.len()
    }

    /// Tap and source pixel of all taps of `target` that are inside.
    pub(super) fn of(&self, target: usize) -> &[[usize; 2]] {
        &self.inside[target]
    }

    /// The first source pixel of `target`, if a run of [`PIXELS`] begins there.
    pub(super) fn run(&self, target: usize) -> Option<usize> {
        self.runs[target]
    }
}
