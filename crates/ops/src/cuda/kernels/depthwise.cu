// Depthwise convolution: every channel has a kernel of its own.
#include "window.cuh"

// Weights (channels, taps) as (taps, channels), one element per thread.
extern "C" __global__ void __launch_bounds__(THREADS)
    weights_by_tap_f32(const float *weight, uint32_t channels, uint32_t taps, float *out) {
    uint64_t i = index_of_thread();
    if (i < (uint64_t)channels * taps) out[i] = weight[i % channels * taps + i / channels];
}

// The input row (or column) that output `out` reads with a tap. Without one it is no smaller than `size`.
__device__ inline uint32_t read_by(const Window &g, uint32_t out, uint32_t tap, uint32_t) {
    return out * g.stride + tap * g.dilation - g.padding;
}

// The output row (or column) that reads input `in` with a tap, likewise. `size` is that of the output.
__device__ inline uint32_t reader_of(const Window &g, uint32_t in, uint32_t tap, uint32_t size) {
    uint32_t reach = in + g.padding, before = tap * g.dilation;
    // Divisions take long.
    if (g.stride == 1) return reach - before;
    return reach < before || (reach - before) % g.stride != 0 ? size : (reach - before) / g.stride;
}

// Pixels next to each other that a thread has, for which it reads each weight once.
#define PIXELS 4

// Every target's sum over its taps of weight (taps, channels) times the source pixel that `source` names, plus `bias`
// unless that is null. A thread has V channels of PIXELS targets of a row.
template <typename T, int V, typename Source>
__device__ inline void sum_of_taps(const T *x, const float *weight, const float *bias, const Window &g,
                                   uint32_t height, uint32_t width, uint32_t to_height, uint32_t to_width,
                                   uint64_t count, T *out, Source source) {
    uint64_t i = index_of_thread();
    if (i >= count) return;
    uint32_t packs = g.channels / V, parts = (to_width + PIXELS - 1) / PIXELS;
    uint32_t channel = i % packs * V, first = i / packs % parts * PIXELS;
    uint64_t line = i / packs / parts;
    uint32_t row = line % to_height;
    const T *image = x + line / to_height * height * width * g.channels + channel;
    float sums[PIXELS][V] = {};
    if (bias)
        for (int p = 0; p < PIXELS; p++)
            for (int c = 0; c < V; c++) sums[p][c] = bias[channel + c];
    for (uint32_t ky = 0; ky < g.kernel_height; ky++) {
        uint32_t y = source(g, row, ky, height);
        if (y >= height) continue;
        for (uint32_t kx = 0; kx < g.kernel_width; kx++) {
            uint64_t tap = ky * g.kernel_width + kx;
            Pack<float, V> factors = read<float, V>(weight + tap * g.channels + channel);
#pragma unroll
            for (int p = 0; p < PIXELS; p++) {
                uint32_t xx = source(g, first + p, kx, width);
                if (xx >= width) continue;
                Pack<T, V> values = read<T, V>(image + ((uint64_t)y * width + xx) * g.channels);
                for (int c = 0; c < V; c++) sums[p][c] = fmaf(factors.at[c], widen(values.at[c]), sums[p][c]);
            }
        }
    }
    for (int p = 0; p < PIXELS; p++) {
        if (first + p >= to_width) return;
        Pack<T, V> values;
        for (int c = 0; c < V; c++) values.at[c] = narrow<T>(sums[p][c]);
        write<T, V>(out + (line * to_width + first + p) * g.channels + channel, values);
    }
}

template <typename T, int V>
__device__ void depthwise(const T *x, const float *weight, const float *bias, Window g, uint64_t count, T *out) {
    sum_of_taps<T, V>(x, weight, bias, g, g.height, g.width, g.out_height, g.out_width, count, out,
                      [](const Window &g, uint32_t at, uint32_t tap, uint32_t size) {
                          return read_by(g, at, tap, size);
                      });
}
STAMP(depthwise, (const T *x, const float *weight, const float *bias, Window g, uint64_t count, T *out),
      (x, weight, bias, g, count, out))

template <typename T, int V>
__device__ void depthwise_input_gradient(const T *gradient, const float *weight, Window g, uint64_t count, T *out) {
    sum_of_taps<T, V>(gradient, weight, nullptr, g, g.out_height, g.out_width, g.height, g.width, count, out,
                      [](const Window &g, uint32_t at, uint32_t tap, uint32_t size) {
                          return reader_of(g, at, tap, size);
                      });
}
STAMP(depthwise_input_gradient, (const T *gradient, const float *weight, Window g, uint64_t count, T *out),
      (gradient, weight, g, count, out))

// Taps of a row of the kernel whose sums a thread has.
#define TAPS 4

// For every block of output rows, the gradient of the weights: (blocks, channels, taps). `lines` are the output rows of
// all images. A thread has V channels of every blockDim.y-th pixel of a row; blockIdx.z names the taps.
template <typename T, int V>
__device__ void depthwise_weight_gradient(const T *x, const T *gradient, Window g, uint64_t lines, float *partial) {
    __shared__ float pile[THREADS * TAPS * V];
    uint32_t channel = (blockIdx.x * blockDim.x + threadIdx.x) * V, parts = (g.kernel_width + TAPS - 1) / TAPS;
    uint32_t ky = blockIdx.z / parts, first = blockIdx.z % parts * TAPS;
    float sums[TAPS * V] = {};
    for (uint64_t line = blockIdx.y; line < lines && channel < g.channels; line += gridDim.y) {
        uint32_t y = read_by(g, line % g.out_height, ky, g.height);
        if (y >= g.height) continue;
        const T *row = x + (line / g.out_height * g.height + y) * g.width * g.channels + channel;
        for (uint32_t column = threadIdx.y; column < g.out_width; column += blockDim.y) {
            Pack<T, V> gradients = read<T, V>(gradient + (line * g.out_width + column) * g.channels + channel);
#pragma unroll
            for (int t = 0; t < TAPS; t++) {
                uint32_t xx = read_by(g, column, first + t, g.width);
                if (xx >= g.width) continue;
                Pack<T, V> values = read<T, V>(row + (uint64_t)xx * g.channels);
                for (int c = 0; c < V; c++)
                    sums[t * V + c] = fmaf(widen(gradients.at[c]), widen(values.at[c]), sums[t * V + c]);
            }
        }
    }
    fold_rows<TAPS * V>(sums, pile);
    if (threadIdx.y != 0 || channel >= g.channels) return;
    uint32_t taps = g.kernel_height * g.kernel_width;
    float *to = partial + ((uint64_t)blockIdx.y * g.channels + channel) * taps + ky * g.kernel_width + first;
    for (int t = 0; t < TAPS && first + t < g.kernel_width; t++)
        for (int c = 0; c < V; c++) to[(uint64_t)c * taps + t] = sums[t * V + c];
}
STAMP(depthwise_weight_gradient, (const T *x, const T *gradient, Window g, uint64_t lines, float *partial),
      (x, gradient, g, lines, partial))
