//! GPUs compute convolutions over a pyramid as several operations, so these have no implementation
//! here.

use crate::operation::OnGpu;
use crate::pyramid::{InputGradient, LevelsGradient, ProductsGradient, PyramidConvolution, WeightGradient};

impl OnGpu<3> for PyramidConvolution {}
impl OnGpu<2> for InputGradient<'_> {}
impl OnGpu<1> for ProductsGradient<'_> {}
impl OnGpu<2> for LevelsGradient<'_> {}
impl OnGpu<3> for WeightGradient<'_> {}
