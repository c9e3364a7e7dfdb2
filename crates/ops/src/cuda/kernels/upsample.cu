// Bilinear upsampling.
#include "interpolation.cuh"

// (N, h, w, C) to (N, H, W, C), plus `residual` unless that is null, one element per thread.
template <typename T, int V> __device__ void upsample(const T *x, const T *residual, Resize r, uint64_t count, T *out) {
    uint64_t i = index_of_thread();
    if (i >= count) return;
    uint32_t channel = i % r.channels;
    uint64_t pixel = i / r.channels;
    Between row = between(pixel / r.width % r.height, r.source_height, r.height, r.aligned);
    Between column = between(pixel % r.width, r.source_width, r.width, r.aligned);
    const T *image = x + pixel / r.width / r.height * r.source_height * r.source_width * r.channels + channel;
    uint64_t top = (uint64_t)row.first * r.source_width, bottom = (uint64_t)row.second * r.source_width;
    auto at = [&](uint64_t place) { return widen(image[place * r.channels]); };
    float left = mix(at(top + column.first), at(bottom + column.first), row.weight);
    float right = mix(at(top + column.second), at(bottom + column.second), row.weight);
    float value = mix(left, right, column.weight);
    out[i] = narrow<T>(residual ? value + widen(residual[i]) : value);
}
STAMP_ONE(upsample, f32_1, float, 1, (const T *x, const T *residual, Resize r, uint64_t count, T *out),
          (x, residual, r, count, out))
STAMP_ONE(upsample, bf16_1, bf16, 1, (const T *x, const T *residual, Resize r, uint64_t count, T *out),
          (x, residual, r, count, out))

// How much of target position `at` comes from source position `source`.
__device__ inline float share(const Between &at, uint32_t source) {
    return (at.first == source ? 1.0f - at.weight : 0.0f) + (at.second == source ? at.weight : 0.0f);
}

// The transpose: (N, H, W, C) to (N, h, w, C), one element per thread, which adds up the targets around it.
template <typename T, int V>
__device__ void upsample_gradient(const T *gradient, Resize r, uint64_t count, T *out) {
    uint64_t i = index_of_thread();
    if (i >= count) return;
    uint32_t channel = i % r.channels;
    uint64_t pixel = i / r.channels;
    uint32_t column = pixel % r.source_width, row = pixel / r.source_width % r.source_height;
    const T *image = gradient + pixel / r.source_width / r.source_height * r.height * r.width * r.channels + channel;
    uint32_t top = first_target(row > 0 ? row - 1 : 0, r.source_height, r.height, r.aligned);
    uint32_t bottom = first_target(row + 1, r.source_height, r.height, r.aligned);
    uint32_t left = first_target(column > 0 ? column - 1 : 0, r.source_width, r.width, r.aligned);
    uint32_t right = first_target(column + 1, r.source_width, r.width, r.aligned);
    float sum = 0.0f;
    for (uint32_t y = top; y < bottom; y++) {
        float of_row = share(between(y, r.source_height, r.height, r.aligned), row);
        float line = 0.0f;
        for (uint32_t x = left; x < right; x++)
            line = fmaf(share(between(x, r.source_width, r.width, r.aligned), column),
                        widen(image[((uint64_t)y * r.width + x) * r.channels]), line);
        sum = fmaf(of_row, line, sum);
    }
    out[i] = narrow<T>(sum);
}
STAMP_ONE(upsample_gradient, f32_1, float, 1, (const T *gradient, Resize r, uint64_t count, T *out),
          (gradient, r, count, out))
STAMP_ONE(upsample_gradient, bf16_1, bf16, 1, (const T *gradient, Resize r, uint64_t count, T *out),
          (gradient, r, count, out))
