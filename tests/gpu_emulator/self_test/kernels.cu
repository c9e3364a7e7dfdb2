// Kernels that use what the emulator offers, and kernels with the mistakes that it must find.

#include <cuda_bf16.h>

// The sum of `count` values by one block: shuffles within warps, shared memory between them.
extern "C" __global__ void __launch_bounds__(256) test_block_sum(const float *values, float *sum, unsigned count) {
    __shared__ float of_warp[32];
    float own = 0;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) own += values[i];
    for (int distance = 16; distance > 0; distance >>= 1) own += __shfl_xor_sync(0xffffffff, own, distance);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = own;
    __syncthreads();
    if (threadIdx.x < 32) {
        own = threadIdx.x < blockDim.x / 32 ? of_warp[threadIdx.x] : 0;
        for (int distance = 16; distance > 0; distance >>= 1) own += __shfl_down_sync(0xffffffff, own, distance);
        if (threadIdx.x == 0) *sum = own;
    }
}

template <typename T>
__device__ void histogram(const T *values, unsigned *counts, unsigned count) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    atomicAdd(&counts[(unsigned)(float)values[i]], 1u);
}

#define HISTOGRAM(NAME, T) \
    extern "C" __global__ void test_histogram_##NAME(const T *values, unsigned *counts, unsigned count) { histogram(values, counts, count); }
HISTOGRAM(f32, float)
HISTOGRAM(bf16, __nv_bfloat16)

extern "C" __global__ void test_double(float4 *values, unsigned count) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float4 v = values[i];
    values[i] = make_float4(v.x + v.x, v.y + v.y, v.z + v.z, v.w + v.w);
}

// --- Mistakes -----------------------------------------------------------------------------------------

extern "C" __global__ void mistake_write_past_end(float *values, unsigned count) { values[count + threadIdx.x] = 0; }

extern "C" __global__ void mistake_read_past_end(const float *values, float *out, unsigned count) {
    out[threadIdx.x] = values[count + 4 + threadIdx.x];
}

extern "C" __global__ void mistake_divergent_barrier(float *values) {
    if (threadIdx.x < 5) return;
    __syncthreads();
    values[threadIdx.x] = 0;
}

extern "C" __global__ void mistake_half_a_warp(float *values) {
    float own = 1;
    if (threadIdx.x % 32 < 16) own += __shfl_xor_sync(0xffffffff, own, 1);
    else __syncthreads();
    values[threadIdx.x] = own;
}

extern "C" __global__ void mistake_shared_index(float *values) {
    __shared__ float shared[8];
    shared[threadIdx.x + 1] = 1;
    __syncthreads();
    values[threadIdx.x] = shared[0];
}

extern "C" __global__ void mistake_unaligned(const float *values, float2 *out) { out[threadIdx.x] = *(const float2 *)(values + 1); }

// Without the barrier that belongs between: each thread reads its neighbour's value.
extern "C" __global__ void mistake_missing_barrier(float *values) {
    __shared__ float shared[64];
    shared[threadIdx.x] = (float)threadIdx.x;
    values[threadIdx.x] = shared[63 - threadIdx.x];
}
