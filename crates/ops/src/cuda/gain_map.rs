//! The gain of every pixel, which the CPU alone computes.

use crate::gain_map::GainMap;
use crate::operation::OnGpu;

impl OnGpu<2> for GainMap {}
