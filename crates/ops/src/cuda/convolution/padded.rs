//! Convolutions of bf16 whose channels are no multiple of eight, as ones with more channels, which are
//! zeros: cuDNN's kernels for the others are slow.

use super::super::without;
use super::epilogue::Epilogue;
use super::key::{Key, Product};
use super::straight;
use crate::cuda::element::{Element, stamped};
use crate::cuda::launch::{launch, per_element};
use crate::cuda::memory::{room, stored};
use crate::operation::{GpuInputs, Input};
use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, DType, Layout, Result};

/// The key of the larger convolution, if `key` is to be computed by one.
pub(super) fn wider<T: Element>(key: &Key) -> Option<Key> {
    let mut wide = *key;
    for channels in [&mut wide.geometry.input[2], &mut wide.geometry.output[2]] {
        *channels = channels.next_multiple_of(8);
    }
    (T::TYPE == DType::BF16 && wide != *key && without::allowed("padding")).then_some(wide)
}

/// Rows and columns of a tensor as a matrix whose columns are channels. The rows of a weight are its
/// outputs and the places of its kernel, so that more outputs are more rows.
type Size = [usize; 2];

/// Sizes of input, weight and output.
fn sizes(key: &Key) -> [Size; 3] {
    let g = &key.geometry;
    let pixels = |[height, width, _]: [usize; 3]| g.batch * height * width;
    [
        [pixels(g.input), g.input[2]],
        [g.output[2] * g.kernel[0] * g.kernel[1], g.input[2]],
        [pixels(g.output), g.output[2]],
    ]
}

/// The product `key`, by that of the larger convolution `wide`.
pub(super) fn compute<T: Element>(
    key: &Key,
    wide: &Key,
    inputs: GpuInputs<'_, 2>,
    epilogue: Option<Epilogue<Input<'_, CudaStorage>>>,
) -> Result<CudaStorage> {
    let ([input, weight, output], [wide_input, wide_weight, wide_output]) = (sizes(key), sizes(wide));
    let (input, weight, output) = ((input, wide_input), (weight, wide_weight), (output, wide_output));
    let [first, second, result] = match key.product {
        Product::Output => [input, weight, output],
        Product::InputGradient => [weight, output, input],
        Product::WeightGradient => [input, output, weight],
    };
    let [left, right] = [fit::<T>(inputs[0], first)?, fit::<T>(inputs[1], second)?];
    // The size of the epilogue's operand.
    let beside = match epilogue {
        Some(Epilogue::BiasRelu(_)) => ([1, key.geometry.output[2]], [1, wide.geometry.output[2]]),
        _ => result,
    };
    let epilogue = epilogue.map(|epilogue| epilogue.map(|operand| fit::<T>(operand, beside)).transpose());
    let epilogue = epilogue.transpose()?;
    let [of_left, of_right, of_beside, of_result] =
        [first, second, beside, result].map(|(_, [rows, columns])| Layout::contiguous((rows, columns)));
    let inputs = [Input { storage: &left, layout: &of_left }, Input { storage: &right, layout: &of_right }];
    let epilogue = epilogue
        .as_ref()
        .map(|epilogue| epilogue.kind().map(|()| Input { storage: epilogue.operand(), layout: &of_beside }));
    let out = straight::<T>(wide, inputs, epilogue)?;
    let (narrow, wide) = result;
    fit::<T>(Input { storage: &out, layout: &of_result }, (wide, narrow))
}

/// `x` with another number of rows and columns, the new ones zeros.
fn fit<T: Element>(x: Input<'_, CudaStorage>, (from, to): (Size, Size)) -> Result<CudaStorage> {
    let (device, count) = (x.storage.device(), to[0] * to[1]);
    let mut out = room::<T>(device, count)?;
    let (name, x, blocks) = (stamped::<T>("fit", 1), x.view::<T>()?, per_element(count));
    let ([rows, _], columns, to_columns) = (from, from[1] as u32, to[1] as u32);
    launch!(device, &name, blocks, &x, &(rows as u64), &columns, &to_columns, &(count as u64), &mut out);
    Ok(stored(out, device))
}
