// What attention needs in addition to products: the softmax of scores, and its gradient. A warp has a row of scores.
#include "common.cuh"

// The row of a warp, and whether there is one.
__device__ inline uint64_t row_of_warp() { return (uint64_t)blockIdx.x * blockDim.y + threadIdx.y; }

__device__ inline float warp_sum(float value) {
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xFFFFFFFF, value, distance);
    return value;
}

__device__ inline float warp_most(float value) {
    for (int distance = 16; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFF, value, distance));
    return value;
}

// The softmax of `scale` times each row of scores (rows, keys).
template <typename T, int V>
__device__ void softmax_rows(const float *scores, float scale, uint64_t rows, uint32_t keys, T *weights) {
    uint64_t row = row_of_warp();
    if (row >= rows) return;
    const float *own = scores + row * keys;
    T *to = weights + row * keys;
    float most = -INFINITY, sum = 0.0f;
    for (uint32_t key = threadIdx.x; key < keys; key += 32) most = fmaxf(most, own[key]);
    most = warp_most(most);
    for (uint32_t key = threadIdx.x; key < keys; key += 32) sum += expf((own[key] - most) * scale);
    float factor = 1.0f / warp_sum(sum);
    for (uint32_t key = threadIdx.x; key < keys; key += 32)
        to[key] = narrow<T>(expf((own[key] - most) * scale) * factor);
}
STAMP_ONE(softmax_rows, f32_1, float, 1,
          (const float *scores, float scale, uint64_t rows, uint32_t keys, T *weights),
          (scores, scale, rows, keys, weights))
STAMP_ONE(softmax_rows, bf16_1, bf16, 1,
          (const float *scores, float scale, uint64_t rows, uint32_t keys, T *weights),
          (scores, scale, rows, keys, weights))

// The gradient of the scores, from the weights and their gradient.
template <typename T, int V>
__device__ void softmax_rows_gradient(const T *weights, const float *gradient, float scale, uint64_t rows,
                                      uint32_t keys, T *out) {
    uint64_t row = row_of_warp();
    if (row >= rows) return;
    const T *own = weights + row * keys;
    const float *slopes = gradient + row * keys;
    T *to = out + row * keys;
    float mean = 0.0f;
    for (uint32_t key = threadIdx.x; key < keys; key += 32) mean = fmaf(slopes[key], widen(own[key]), mean);
    mean = warp_sum(mean);
    for (uint32_t key = threadIdx.x; key < keys; key += 32)
        to[key] = narrow<T>((slopes[key] - mean) * widen(own[key]) * scale);
}
STAMP_ONE(softmax_rows_gradient, f32_1, float, 1,
          (const T *weights, const float *gradient, float scale, uint64_t rows, uint32_t keys, T *out),
          (weights, gradient, scale, rows, keys, out))
STAMP_ONE(softmax_rows_gradient, bf16_1, bf16, 1,
          (const T *weights, const float *gradient, float scale, uint64_t rows, uint32_t keys, T *out),
          (weights, gradient, scale, rows, keys, out))

// Sums in f32 as elements, one per thread.
template <typename T, int V> __device__ void narrow_sums(const float *sums, uint64_t count, T *out) {
    uint64_t i = index_of_thread();
    if (i < count) out[i] = narrow<T>(sums[i]);
}
STAMP_ONE(narrow_sums, f32_1, float, 1, (const float *sums, uint64_t count, T *out), (sums, count, out))
STAMP_ONE(narrow_sums, bf16_1, bf16, 1, (const float *sums, uint64_t count, T *out), (sums, count, out))
