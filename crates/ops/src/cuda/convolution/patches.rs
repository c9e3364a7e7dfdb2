//! Convolution without cuDNN, for the case that none of its algorithms works: patches of the image,
//! and cuBLAS, in f32 and image by image. It is slow.

use super::key::{Key, Product};
use crate::arithmetic::Factors;
use crate::cuda::element::Element;
use crate::cuda::launch::{launch, per_element};
use crate::cuda::memory::{room, stored};
use crate::cuda::product::multiply;
use crate::cuda::window::Window;
use crate::geometry::Geometry;
use crate::operation::{GpuInputs, Input};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::op::Add;
use candle_core::{CudaDevice, CudaStorage, DType, Error, Layout, Result};

/// The product `key` of the two `inputs`, in the order input, weight, gradient of the output, with
/// `residual` added to it.
pub(super) fn compute<T: Element>(
    key: &Key,
    inputs: GpuInputs<'_, 2>,
    residual: Option<Input<'_, CudaStorage>>,
) -> Result<CudaStorage> {
    let (g, product) = (&key.geometry, key.product);
    let patches = Patches {
        device: inputs[0].storage.device(),
        g,
        factors: key.arithmetic.factors,
        pixels: g.output[0] * g.output[1],
        outputs: g.output[2],
        patch: g.kernel.iter().product::<usize>() * g.input[2],
        image: g.input.iter().product(),
    };
    let wide = |input: Input<'_, CudaStorage>| input.storage.to_dtype(input.layout, DType::F32);
    let [first, second] = [wide(inputs[0])?, wide(inputs[1])?];
    let whole = Layout::contiguous(product.size(g));
    let mut out = match product {
        Product::Output => patches.output(&first, &second)?,
        Product::InputGradient => patches.input_gradient(&first, &second)?,
        Product::WeightGradient => patches.weight_gradient(&first, &second)?,
    };
    if let Some(residual) = residual {
        out = out.binary_impl::<Add>(&wide(residual)?, &whole, &whole)?;
    }
    if T::TYPE == DType::F32 { Ok(out) } else { out.to_dtype(&whole, T::TYPE) }
}

/// A convolution as products of matrices.
struct Patches<'a> {
    device: &'a CudaDevice,
    g: &'a Geometry,
    factors: Factors,
    /// Pixels of an image's output.
    pixels: usize,
    /// Channels of the output.
    outputs: usize,
    /// Elements of a patch.
    patch: usize,
    /// Elements of an image.
    image: usize,
}

impl Patches<'_> {
    /// The patches of image `index`, one row for each pixel of the output.
    fn rows(&self, x: &CudaStorage, index: usize) -> Result<CudaStorage> {
        let (device, count) = (self.device, self.pixels * self.patch);
        let layout = Layout::contiguous_with_offset(self.image, index * self.image);
        let image = Input { storage: x, layout: &layout }.view::<f32>()?;
        let (mut rows, window) = (room::<f32>(device, count)?, Window::new(self.g, self.g.input[2]));
        launch!(device, "patches_f32", per_element(count), &image, &window, &(count as u64), &mut rows);
        Ok(stored(rows, device))
    }

    fn multiply(
        &self,
        (left, left_layout): (&CudaStorage, Layout),
        (right, right_layout): (&CudaStorage, Layout),
    ) -> Result<CudaStorage> {
        let left = Input { storage: left, layout: &left_layout };
        multiply::<f32>(left, Input { storage: right, layout: &right_layout }, self.factors)
    }

    /// Writes `part` to place `index` of parts of its size.
    fn put(&self, part: &CudaStorage, out: &mut CudaSlice<f32>, index: usize) -> Result<()> {
        let part = part.as_cuda_slice::<f32>()?;
        let size = part.len();
        let mut place = out.slice_mut(index * size..(index + 1) * size);
        self.device.cuda_stream().memcpy_dtod(part, &mut place).map_err(Error::wrap)
    }

    fn output(&self, x: &CudaStorage, weight: &CudaStorage) -> Result<CudaStorage> {
        let &Self { device, g, pixels, outputs, patch, .. } = self;
        let mut out = room::<f32>(device, Product::Output.size(g))?;
        let columns = Layout::contiguous((outputs, patch)).transpose(0, 1)?;
        for index in 0..g.batch {
            let (rows, layout) = (self.rows(x, index)?, Layout::contiguous((pixels, patch)));
            let part = self.multiply((&rows, layout), (weight, columns.clone()))?;
            self.put(&part, &mut out, index)?;
        }
        Ok(stored(out, device))
    }

    fn input_gradient(&self, weight: &CudaStorage, gradient: &CudaStorage) -> Result<CudaStorage> {
        let &Self { device, g, pixels, outputs, patch, image, .. } = self;
        let mut out = room::<f32>(device, Product::InputGradient.size(g))?;
        for index in 0..g.batch {
            let layout = Layout::contiguous_with_offset((pixels, outputs), index * pixels * outputs);
            let matrix = Layout::contiguous((outputs, patch));
            let rows = self.multiply((gradient, layout), (weight, matrix))?;
            let rows = rows.as_cuda_slice::<f32>()?;
            let mut part = out.slice_mut(index * image..(index + 1) * image);
            let (blocks, window, count) = (per_element(image), Window::new(g, g.input[2]), image as u64);
            launch!(device, "patches_gradient_f32", blocks, rows, &window, &count, &mut part);
        }
        Ok(stored(out, device))
    }

    fn weight_gradient(&self, x: &CudaStorage, gradient: &CudaStorage) -> Result<CudaStorage> {
        let &Self { g, pixels, outputs, patch, .. } = self;
        let whole = Layout::contiguous(outputs * patch);
        let mut sum: Option<CudaStorage> = None;
        for index in 0..g.batch {
            let start = index * pixels * outputs;
            let layout = Layout::contiguous_with_offset((pixels, outputs), start).transpose(0, 1)?;
            let columns = Layout::contiguous((pixels, patch));
            let part = self.multiply((gradient, layout), (&self.rows(x, index)?, columns))?;
            sum = Some(match sum {
                Some(sum) => sum.binary_impl::<Add>(&part, &whole, &whole)?,
                None => part,
            });
        }
        sum.ok_or_else(|| Error::msg("conv2d: a batch without images has no gradient"))
    }
}
