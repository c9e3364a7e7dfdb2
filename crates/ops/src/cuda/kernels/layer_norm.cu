// Layer norm over channels.
#include "column_sums.cuh"

// The sum of `value` over the threads of a row, which are the neighbours in a warp of the same threadIdx.y; every thread
// of the row gets it. blockDim.x is a power of two, at most 32.
__device__ inline float row_sum(float value) {
    for (int distance = blockDim.x / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(0xFFFFFFFF, value, distance);
    return value;
}

// Calls `work(channel, values)` for the packs of a thread in the row that begins at `x`.
template <typename T, int V, typename Work>
__device__ inline void each_pack(const T *x, uint32_t channels, Work work) {
    for (uint32_t channel = threadIdx.x * V; channel < channels; channel += blockDim.x * V)
        work(channel, read<T, V>(x + channel));
}

// Mean of a row, and one over the root of its variance plus eps. A row is read from memory once, then from the cache.
struct Moments {
    float mean, scale;
};

// All threads of a warp have to call this. `inside` says whether a thread's row exists.
template <typename T, int V>
__device__ inline Moments moments_of(const T *x, bool inside, uint32_t channels, float eps) {
    float sum = 0.0f, squares = 0.0f;
    if (inside)
        each_pack<T, V>(x, channels, [&](uint32_t, const Pack<T, V> &values) {
            for (int i = 0; i < V; i++) sum += widen(values.at[i]);
        });
    float mean = row_sum(sum) / (float)channels;
    if (inside)
        each_pack<T, V>(x, channels, [&](uint32_t, const Pack<T, V> &values) {
            for (int i = 0; i < V; i++) {
                float distance = widen(values.at[i]) - mean;
                squares = fmaf(distance, distance, squares);
            }
        });
    return {mean, 1.0f / sqrtf(row_sum(squares) / (float)channels + eps)};
}

// Calls `work(start of the row, whether it exists)` for the rows of a thread. The threads of a warp call it together.
template <typename Work> __device__ inline void each_whole_row(uint64_t rows, uint32_t channels, Work work) {
    for (uint64_t first = (uint64_t)blockIdx.y * blockDim.y; first < rows; first += (uint64_t)gridDim.y * blockDim.y) {
        uint64_t row = first + threadIdx.y;
        work(row * channels, row < rows);
    }
}

// (x - mean) scale weight + bias.
template <typename T, int V>
__device__ void layer_norm(const T *x, const float *weight, const float *bias, float eps, uint64_t rows,
                           uint32_t channels, T *out) {
    each_whole_row(rows, channels, [&](uint64_t start, bool inside) {
        Moments at = moments_of<T, V>(x + start, inside, channels, eps);
        if (!inside) return;
        each_pack<T, V>(x + start, channels, [&](uint32_t channel, Pack<T, V> values) {
            Pack<float, V> factors = read<float, V>(weight + channel), shifts = read<float, V>(bias + channel);
            for (int i = 0; i < V; i++)
                values.at[i] =
                    narrow<T>(fmaf((widen(values.at[i]) - at.mean) * at.scale, factors.at[i], shifts.at[i]));
            write<T, V>(out + start + channel, values);
        });
    });
}
STAMP(layer_norm,
      (const T *x, const float *weight, const float *bias, float eps, uint64_t rows, uint32_t channels, T *out),
      (x, weight, bias, eps, rows, channels, out))

// The gradient of the input.
template <typename T, int V>
__device__ void layer_norm_gradient(const T *x, const float *weight, const T *gradient, float eps, uint64_t rows,
                                    uint32_t channels, T *out) {
    each_whole_row(rows, channels, [&](uint64_t start, bool inside) {
        Moments at = moments_of<T, V>(x + start, inside, channels, eps);
        float offset = 0.0f, slope = 0.0f;
        if (inside)
            each_pack<T, V>(x + start, channels, [&](uint32_t channel, const Pack<T, V> &values) {
                Pack<T, V> gradients = read<T, V>(gradient + start + channel);
                Pack<float, V> factors = read<float, V>(weight + channel);
                for (int i = 0; i < V; i++) {
                    float weighted = widen(gradients.at[i]) * factors.at[i];
                    offset += weighted;
                    slope = fmaf(weighted, widen(values.at[i]) - at.mean, slope);
                }
            });
        offset = row_sum(offset) / (float)channels;
        slope = row_sum(slope) * at.scale * at.scale / (float)channels;
        if (!inside) return;
        each_pack<T, V>(x + start, channels, [&](uint32_t channel, const Pack<T, V> &values) {
            Pack<T, V> gradients = read<T, V>(gradient + start + channel);
            Pack<float, V> factors = read<float, V>(weight + channel);
            for (int i = 0; i < V; i++) {
                float weighted = widen(gradients.at[i]) * factors.at[i];
                float mixed = weighted - offset - (widen(values.at[i]) - at.mean) * slope;
                gradients.at[i] = narrow<T>(at.scale * mixed);
            }
            write<T, V>(out + start + channel, gradients);
        });
    });
}
STAMP(layer_norm_gradient,
      (const T *x, const float *weight, const T *gradient, float eps, uint64_t rows, uint32_t channels, T *out),
      (x, weight, gradient, eps, rows, channels, out))

// Mean and scale of every row, (rows, 2), for layer_norm_parameters.
template <typename T, int V>
__device__ void layer_norm_moments(const T *x, float eps, uint64_t rows, uint32_t channels, float *moments) {
    each_whole_row(rows, channels, [&](uint64_t start, bool inside) {
        Moments at = moments_of<T, V>(x + start, inside, channels, eps);
        if (!inside || threadIdx.x != 0) return;
        float *to = moments + start / channels * 2;
        to[0] = at.mean;
        to[1] = at.scale;
    });
}
STAMP(layer_norm_moments, (const T *x, float eps, uint64_t rows, uint32_t channels, float *moments),
      (x, eps, rows, channels, moments))

// For every block of rows, the sums of gradient times normalised input, and of the gradient: (blocks, 2, channels).
template <typename T, int V>
__device__ void layer_norm_parameters(const T *x, const T *gradient, const float *moments, uint64_t rows,
                                      uint32_t channels, float *partial) {
    Place at = place<V>();
    float of_weight[V] = {}, of_bias[V] = {};
    if (at.channel < channels) {
#pragma unroll 4
        for (uint64_t row = at.row; row < rows; row += at.step) {
            uint64_t element = row * channels + at.channel;
            Pack<T, V> values = read<T, V>(x + element), gradients = read<T, V>(gradient + element);
            Pack<float, 2> known = read<float, 2>(moments + row * 2);
            for (int i = 0; i < V; i++) {
                float own = widen(gradients.at[i]);
                of_weight[i] = fmaf(own, (widen(values.at[i]) - known.at[0]) * known.at[1], of_weight[i]);
                of_bias[i] += own;
            }
        }
    }
    write_sums<V>(at, channels, of_weight, of_bias, partial);
}
STAMP(layer_norm_parameters,
      (const T *x, const T *gradient, const float *moments, uint64_t rows, uint32_t channels, float *partial),
      (x, gradient, moments, rows, channels, partial))
