//! Attention: cuBLAS multiplies, a few kernels compute the softmax between the products. A block of
//! queries at a time, so that the scores need little memory. Each call multiplies the matrices of all
//! images for one head, or of all heads for one image, whichever takes fewer calls.

use super::element::{Element, stamped};
use super::launch::{launch, per_element};
use super::memory::{room, stored};
use super::product::{Operand, Sizes, gemm};
use crate::arithmetic::Factors;
use crate::attention::{Attention, AttentionGradient};
use crate::operation::{GpuInputs, Input, OnGpu};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, LaunchConfig};
use candle_core::{CudaDevice, CudaStorage, Result};
use std::ops::Range;

/// Scores of a block of queries, over all matrices of a call: 16 MiB, which fit the cache.
const SCORES: usize = 1 << 22;

impl OnGpu<2> for Attention {
    fn compute<T: Element>(&self, [query, key_value]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        let (device, plan) = (query.storage.device(), Plan::new(self, query, key_value));
        let (query, key_value) = (query.view::<T>()?, key_value.view::<T>()?);
        let mut out = room::<T>(device, query.len())?;
        let mut scores = Scores::<T>::new(device, &plan)?;
        for (call, rows) in plan.parts() {
            scores.weigh(&plan, call, &rows, &query, &key_value)?;
            let weights = (&scores.weights.as_view(), plan.of_scores(&rows));
            let value = (&key_value.slice(plan.value(call)..), plan.keys_apart());
            let result = &mut out.slice_mut(plan.query(call, &rows)..);
            let sizes = plan.sizes([rows.len(), plan.keys, plan.depth]);
            gemm(device, sizes, [weights, value], (result, plan.queries_apart()), 0.0, Factors::F32)?;
        }
        Ok(stored(out, device))
    }
}

impl OnGpu<3> for AttentionGradient {
    fn compute<T: Element>(&self, [query, key_value, gradient]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        let (device, plan) = (query.storage.device(), Plan::new(&self.0, query, key_value));
        let (query, key_value) = (query.view::<T>()?, key_value.view::<T>()?);
        let gradient = gradient.view::<T>()?;
        let mut out = room::<T>(device, query.len() + key_value.len())?;
        // The blocks' shares in the gradients of keys and values are added up in f32.
        let mut of_key_value = room::<f32>(device, key_value.len())?;
        let mut slopes = room::<T>(device, plan.room())?;
        let mut scores = Scores::<T>::new(device, &plan)?;
        let (keys, values, queries) = (plan.keys_apart(), plan.keys_apart(), plan.queries_apart());
        for (call, rows) in plan.parts() {
            let kept = if rows.start == 0 { 0.0 } else { 1.0 };
            let places = plan.query(call, &rows)..;
            let (query_rows, gradient_rows) = (query.slice(places.clone()), gradient.slice(places.clone()));
            let own = plan.of_scores(&rows);
            scores.weigh(&plan, call, &rows, &query, &key_value)?;
            let weights = scores.weights.as_view();

            let to_keys = plan.sizes([plan.keys, rows.len(), plan.depth]);
            let factors = [(&weights, own.flipped()), (&gradient_rows, queries)];
            let result = &mut of_key_value.slice_mut(plan.value(call)..);
            gemm(device, to_keys, factors, (result, values), kept, Factors::F32)?;

            let to_scores = plan.sizes([rows.len(), plan.depth, plan.keys]);
            let value = key_value.slice(plan.value(call)..);
            let factors = [(&gradient_rows, queries), (&value, values.flipped())];
            gemm(device, to_scores, factors, (&mut scores.products.slice_mut(..), own), 0.0, Factors::F32)?;
            let all = (plan.inner * rows.len()) as u64;
            let name = stamped::<T>("softmax_rows_gradient", 1);
            let (config, scale, width) = (warps(all), plan.scale(), plan.keys as u32);
            launch!(device, &name, config, &weights, &scores.products, &scale, &all, &width, &mut slopes);

            let to_query = plan.sizes([rows.len(), plan.keys, plan.depth]);
            let key = key_value.slice(plan.key(call)..);
            let factors = [(&slopes.as_view(), own), (&key, keys)];
            gemm(device, to_query, factors, (&mut out.slice_mut(places), queries), 0.0, Factors::F32)?;
            let factors = [(&slopes.as_view(), own.flipped()), (&query_rows, queries)];
            let result = &mut of_key_value.slice_mut(plan.key(call)..);
            gemm(device, to_keys, factors, (result, keys), kept, Factors::F32)?;
        }
        let count = of_key_value.len();
        let (name, mut rest) = (stamped::<T>("narrow_sums", 1), out.slice_mut(query.len()..));
        launch!(device, &name, per_element(count), &of_key_value, &(count as u64), &mut rest);
        Ok(stored(out, device))
    }
}

/// A warp for each of `rows` rows.
fn warps(rows: u64) -> LaunchConfig {
    LaunchConfig { grid_dim: (rows.div_ceil(8) as u32, 1, 1), block_dim: (32, 8, 1), shared_mem_bytes: 0 }
}

/// The sizes, and which matrices each call multiplies.
struct Plan {
    channels: usize,
    /// Channels of a head.
    depth: usize,
    /// Queries of an image.
    queries: usize,
    /// Keys of an image.
    keys: usize,
    /// Calls for a block of queries, and matrices of each.
    outer: usize,
    inner: usize,
    /// Whether a call has all heads of an image, instead of all images for a head.
    by_image: bool,
}

impl Plan {
    fn new(attention: &Attention, query: Input<'_, CudaStorage>, key_value: Input<'_, CudaStorage>) -> Self {
        let Attention { images, channels, heads } = *attention;
        let by_image = images < heads;
        let (outer, inner) = if by_image { (images, heads) } else { (heads, images) };
        let queries = query.count() / images / channels;
        let keys = key_value.count() / images / (2 * channels);
        Self { channels, depth: channels / heads, queries, keys, outer, inner, by_image }
    }

    /// Queries of a block.
    fn block(&self) -> usize {
        (SCORES / (self.inner * self.keys)).clamp(1, self.queries)
    }

    /// Scores of the largest block.
    fn room(&self) -> usize {
        self.inner * self.block() * self.keys
    }

    /// The calls, each with a block of queries.
    fn parts(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let (block, queries) = (self.block(), self.queries);
        (0..self.outer).flat_map(move |call| {
            (0..queries).step_by(block).map(move |first| (call, first..queries.min(first + block)))
        })
    }

    fn sizes(&self, [rows, inner, columns]: [usize; 3]) -> Sizes {
        Sizes { rows, inner, columns, batch: self.inner }
    }

    /// Factor of the scores.
    fn scale(&self) -> f32 {
        1.0 / (self.depth as f32).sqrt()
    }

    /// The first number of the queries `rows` of a call.
    fn query(&self, call: usize, rows: &Range<usize>) -> usize {
        let step = if self.by_image { self.queries * self.channels } else { self.depth };
        call * step + rows.start * self.channels
    }

    /// The first number of a call's keys.
    fn key(&self, call: usize) -> usize {
        call * if self.by_image { self.keys * 2 * self.channels } else { self.depth }
    }

    /// The first number of a call's values.
    fn value(&self, call: usize) -> usize {
        self.key(call) + self.channels
    }

    /// Where the queries of a call are.
    fn queries_apart(&self) -> Operand {
        let stride = if self.by_image { self.depth } else { self.queries * self.channels };
        Operand::rows([self.channels, stride])
    }

    /// Where its keys or values are.
    fn keys_apart(&self) -> Operand {
        let stride = if self.by_image { self.depth } else { self.keys * 2 * self.channels };
        Operand::rows([2 * self.channels, stride])
    }

    /// Where the scores of a call's queries `rows` are.
    fn of_scores(&self, rows: &Range<usize>) -> Operand {
        Operand::rows([self.keys, rows.len() * self.keys])
    }
}

/// Memory for a block of queries.
struct Scores<T> {
    device: CudaDevice,
    /// Products of queries and keys, or of gradients and values.
    products: CudaSlice<f32>,
    /// The weights of values.
    weights: CudaSlice<T>,
}

impl<T: Element> Scores<T> {
    fn new(device: &CudaDevice, plan: &Plan) -> Result<Self> {
        let (products, weights) = (room(device, plan.room())?, room(device, plan.room())?);
        Ok(Self { device: device.clone(), products, weights })
    }

    /// Computes the weights of all values for the queries `rows` of a call, (matrices, rows, keys).
    fn weigh(
        &mut self,
        plan: &Plan,
        call: usize,
        rows: &Range<usize>,
        query: &CudaView<'_, T>,
        key_value: &CudaView<'_, T>,
    ) -> Result<()> {
        let sizes = plan.sizes([rows.len(), plan.depth, plan.keys]);
        let query = query.slice(plan.query(call, rows)..);
        let key = key_value.slice(plan.key(call)..);
        let factors = [(&query, plan.queries_apart()), (&key, plan.keys_apart().flipped())];
        let result = (&mut self.products.slice_mut(..), plan.of_scores(rows));
        gemm(&self.device, sizes, factors, result, 0.0, Factors::F32)?;
        let (all, scale, keys) = ((plan.inner * rows.len()) as u64, plan.scale(), plan.keys as u32);
        let name = stamped::<T>("softmax_rows", 1);
        launch!(&self.device, &name, warps(all), &self.products, &scale, &all, &keys, &mut self.weights,);
        Ok(())
    }
}
