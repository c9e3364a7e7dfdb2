//! The descriptors of a graph: tensors, a convolution, and what follows it.

use super::cudnn::Reason;
use super::descriptor::Descriptor;
use super::key::{Key, Product};
use super::way::ALIGNMENT;
use candle_core::cuda_backend::cudarc::cudnn::sys;
use sys::cudnnBackendAttributeName_t as Name;
use sys::cudnnBackendAttributeType_t as Type;
use sys::cudnnBackendDescriptorType_t as Kind;
use sys::cudnnPointwiseMode_t as Mode;

/// The type of sums, and of what is between two operations.
const SUMS: sys::cudnnDataType_t = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;

/// Where the elements of a tensor are.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// In memory, in this type.
    Memory(sys::cudnnDataType_t),
    /// Between two operations of a kernel.
    Kernel,
}

/// A tensor of `extents` (N, C, H, W), channels last.
pub(super) fn tensor(name: i64, place: Place, extents: [usize; 4]) -> Result<Descriptor, Reason> {
    let (elements, is_virtual) = match place {
        Place::Memory(elements) => (elements, false),
        Place::Kernel => (SUMS, true),
    };
    let [count, channels, height, width] = extents.map(|extent| extent as i64);
    let strides = [height * width * channels, 1, width * channels, channels];
    let tensor = Descriptor::new(Kind::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, Type::CUDNN_TYPE_INT64, &[name])?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[elements])?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, Type::CUDNN_TYPE_INT64, &[ALIGNMENT as i64])?;
    let extents = [count, channels, height, width];
    tensor.set(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, Type::CUDNN_TYPE_INT64, &extents)?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_STRIDES, Type::CUDNN_TYPE_INT64, &strides)?;
    tensor.set(Name::CUDNN_ATTR_TENSOR_IS_VIRTUAL, Type::CUDNN_TYPE_BOOLEAN, &[is_virtual])?;
    tensor.finish()
}

/// Padding, stride and dilation, and the type of sums.
pub(super) fn geometry(key: &Key) -> Result<Descriptor, Reason> {
    let g = &key.geometry;
    let twice = |size: usize| [size as i64; 2];
    let convolution = Descriptor::new(Kind::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?;
    let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
    convolution.set(Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[SUMS])?;
    convolution.set(Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE, Type::CUDNN_TYPE_CONVOLUTION_MODE, &[mode])?;
    for (name, values) in [
        (Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, twice(g.padding)),
        (Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, twice(g.padding)),
        (Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, twice(g.stride)),
        (Name::CUDNN_ATTR_CONVOLUTION_DILATIONS, twice(g.dilation)),
    ] {
        convolution.set(name, Type::CUDNN_TYPE_INT64, &values)?;
    }
    convolution.set(Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, Type::CUDNN_TYPE_INT64, &[2_i64])?;
    convolution.finish()
}

/// The attributes of an operation: input, weight, output, how it convolves, and its two factors.
fn attributes(product: Product) -> (Kind, [Name; 6]) {
    match product {
        Product::Output => (
            Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
            ],
        ),
        Product::InputGradient => (
            Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
            [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
            ],
        ),
        Product::WeightGradient => (
            Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
            [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
            ],
        ),
    }
}

/// The operation that computes `product` of [`geometry`] `how`, whose tensors are input, weight and output.
pub(super) fn convolution(
    product: Product,
    how: &Descriptor,
    [input, weight, output]: [&Descriptor; 3],
) -> Result<Descriptor, Reason> {
    let (kind, [of_input, of_weight, of_output, of_how, alpha, beta]) = attributes(product);
    let operation = Descriptor::new(kind)?;
    operation.link(of_input, &[input])?;
    operation.link(of_weight, &[weight])?;
    operation.link(of_output, &[output])?;
    operation.link(of_how, &[how])?;
    operation.set(alpha, Type::CUDNN_TYPE_FLOAT, &[1.0_f32])?;
    operation.set(beta, Type::CUDNN_TYPE_FLOAT, &[0.0_f32])?;
    operation.finish()
}

/// The function of single elements, in f32.
pub(super) fn function(mode: Mode) -> Result<Descriptor, Reason> {
    let function = Descriptor::new(Kind::CUDNN_BACKEND_POINTWISE_DESCRIPTOR)?;
    function.set(Name::CUDNN_ATTR_POINTWISE_MODE, Type::CUDNN_TYPE_POINTWISE_MODE, &[mode])?;
    function.set(Name::CUDNN_ATTR_POINTWISE_MATH_PREC, Type::CUDNN_TYPE_DATA_TYPE, &[SUMS])?;
    if mode == Mode::CUDNN_POINTWISE_RELU_FWD {
        let nan = sys::cudnnNanPropagation_t::CUDNN_NOT_PROPAGATE_NAN;
        let name = Name::CUDNN_ATTR_POINTWISE_NAN_PROPAGATION;
        function.set(name, Type::CUDNN_TYPE_NAN_PROPOGATION, &[nan])?;
        for (name, value) in [
            (Name::CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, 0.0),
            (Name::CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, f64::from(f32::MAX)),
            (Name::CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, 0.0),
        ] {
            function.set(name, Type::CUDNN_TYPE_DOUBLE, &[value])?;
        }
    }
    function.finish()
}

/// The operation that gives `to` by `function` of the elements of `from`, and of those of `second` if it
/// has two arguments.
pub(super) fn pointwise(
    function: &Descriptor,
    from: &Descriptor,
    second: Option<&Descriptor>,
    to: &Descriptor,
) -> Result<Descriptor, Reason> {
    let operation = Descriptor::new(Kind::CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)?;
    let factor = |name| operation.set(name, Type::CUDNN_TYPE_FLOAT, &[1.0_f32]);
    operation.link(Name::CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, &[function])?;
    operation.link(Name::CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &[from])?;
    factor(Name::CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1)?;
    if let Some(second) = second {
        operation.link(Name::CUDNN_ATTR_OPERATION_POINTWISE_BDESC, &[second])?;
        factor(Name::CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2)?;
    }
    operation.link(Name::CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &[to])?;
    operation.finish()
}
