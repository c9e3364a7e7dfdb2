// Sums over rows.
#include "column_sums.cuh"

// For every block of rows, the sums over its rows: (blocks, channels). A block has 32 channels and 8 rows of threads.
template <typename T, int V> __device__ void column_sums(const T *x, uint64_t rows, uint32_t channels, double *partial) {
    __shared__ double pile[8][32];
    uint32_t channel = blockIdx.x * 32 + threadIdx.x;
    Place at = place<1>();
    double sum = 0.0;
    if (channel < channels)
        each_row<T, 1>(at, rows, channels, x,
                       [&](uint64_t, const Pack<T, 1> &value) { sum += widen(value.at[0]); });
    pile[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || channel >= channels) return;
    for (int y = 1; y < 8; y++) sum += pile[y][threadIdx.x];
    partial[(uint64_t)blockIdx.y * channels + channel] = sum;
}
STAMP_ONE(column_sums, f32_1, float, 1, (const T *x, uint64_t rows, uint32_t channels, double *partial),
          (x, rows, channels, partial))
STAMP_ONE(column_sums, bf16_1, bf16, 1, (const T *x, uint64_t rows, uint32_t channels, double *partial),
          (x, rows, channels, partial))

// The sums of (blocks, channels) over the blocks.
template <typename T, int V>
__device__ void finish_column_sums(const T *partial, uint32_t blocks, uint32_t channels, float *out) {
    double sums[1];
    sum_blocks<1>(partial, blocks, channels, sums);
    uint32_t channel = finished_channel();
    if (threadIdx.y == 0 && channel < channels) out[channel] = (float)sums[0];
}
STAMP_ONE(finish_column_sums, f32, float, 1, (const T *partial, uint32_t blocks, uint32_t channels, float *out),
          (partial, blocks, channels, out))
STAMP_ONE(finish_column_sums, f64, double, 1, (const T *partial, uint32_t blocks, uint32_t channels, float *out),
          (partial, blocks, channels, out))
