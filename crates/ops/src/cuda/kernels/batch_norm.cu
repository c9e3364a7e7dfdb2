// Batch norm, with ReLU if `relu` is 1, and the sums over pixels that it needs.
#include "common.cuh"

// A batch norm's values for V channels.
template <int V> struct Norm {
    float mean[V], deviation[V], scale[V], shift[V];
};

template <int V>
__device__ inline Norm<V> norm_of(const float *mean, const float *variance, const float *weight, const float *bias,
                                  float eps, uint32_t channel) {
    Norm<V> norm;
    for (int i = 0; i < V; i++) {
        norm.mean[i] = mean[channel + i];
        norm.deviation[i] = sqrtf(variance[channel + i] + eps);
        norm.scale[i] = weight[channel + i] / norm.deviation[i];
        norm.shift[i] = bias[channel + i] - norm.mean[i] * norm.scale[i];
    }
    return norm;
}

template <int V> __device__ inline float normalised(const Norm<V> &norm, float x, int i) {
    return fmaf(x, norm.scale[i], norm.shift[i]);
}

// The part of a gradient that passes the ReLU. The expression is the forward kernel's, so that both decide alike about
// values at zero.
template <int V>
__device__ inline float passed_by(const Norm<V> &norm, uint32_t relu, float x, float gradient, int i) {
    return !relu || normalised(norm, x, i) > 0.0f ? gradient : 0.0f;
}

// For every block of rows, the sums of the distances from a pivot and of their squares: (blocks, 2, channels), and
// after them the pivot, the first row. Sums of values near zero lose nothing to cancellation.
template <typename T, int V>
__device__ void column_moments(const T *x, uint64_t rows, uint32_t channels, float *partial) {
    __shared__ float pile[THREADS * V];
    Place at = place<V>();
    float first[V] = {}, second[V] = {};
    if (at.channel < channels) {
        Pack<T, V> pivot = read<T, V>(x + at.channel);
        for (uint64_t row = at.row; row < rows; row += at.step) {
            Pack<T, V> values = read<T, V>(x + row * channels + at.channel);
            for (int i = 0; i < V; i++) {
                float distance = widen(values.at[i]) - widen(pivot.at[i]);
                first[i] += distance;
                second[i] = fmaf(distance, distance, second[i]);
            }
        }
        if (blockIdx.y == 0 && threadIdx.y == 0)
            for (int i = 0; i < V; i++)
                partial[(uint64_t)gridDim.y * 2 * channels + at.channel + i] = widen(pivot.at[i]);
    }
    fold_rows<V>(first, pile);
    fold_rows<V>(second, pile);
    if (at.channel < channels && threadIdx.y == 0) {
        float *to = partial + (uint64_t)blockIdx.y * 2 * channels + at.channel;
        for (int i = 0; i < V; i++) {
            to[i] = first[i];
            to[channels + i] = second[i];
        }
    }
}
STAMP(column_moments, (const T *x, uint64_t rows, uint32_t channels, float *partial), (x, rows, channels, partial))

// The sums of (blocks, 2, channels) over the blocks, of one channel for each threadIdx.x, in double precision; right
// where threadIdx.y is 0. The block is 32 x 8.
__device__ inline void sum_blocks(const float *partial, uint32_t blocks, uint32_t channels, double (&sums)[2]) {
    __shared__ double pile[2][8][32];
    uint32_t channel = blockIdx.x * 32 + threadIdx.x;
    sums[0] = sums[1] = 0.0;
    if (channel < channels)
        for (uint32_t block = threadIdx.y; block < blocks; block += 8) {
            sums[0] += partial[(uint64_t)block * 2 * channels + channel];
            sums[1] += partial[((uint64_t)block * 2 + 1) * channels + channel];
        }
    for (int which = 0; which < 2; which++) pile[which][threadIdx.y][threadIdx.x] = sums[which];
    __syncthreads();
    if (threadIdx.y == 0)
        for (int which = 0; which < 2; which++)
            for (int y = 1; y < 8; y++) sums[which] += pile[which][y][threadIdx.x];
}

// Mean and biased variance, (2, channels), from the results of column_moments.
extern "C" __global__ void __launch_bounds__(THREADS)
    finish_moments(const float *partial, uint32_t blocks, uint64_t rows, uint32_t channels, float *out) {
    double sums[2];
    sum_blocks(partial, blocks, channels, sums);
    uint32_t channel = blockIdx.x * 32 + threadIdx.x;
    if (threadIdx.y != 0 || channel >= channels) return;
    double first = sums[0] / (double)rows, variance = sums[1] / (double)rows - first * first;
    out[channel] = (float)(partial[(uint64_t)blocks * 2 * channels + channel] + first);
    // A NaN stays one.
    out[channels + channel] = variance < 0.0 ? 0.0f : (float)variance;
}

// The normalised x, and with `relu` the larger of that and 0.
template <typename T, int V>
__device__ void scale_shift(const T *x, const float *mean, const float *variance, const float *weight,
                            const float *bias, float eps, uint32_t relu, uint64_t rows, uint32_t channels, T *out) {
    Place at = place<V>();
    if (at.channel >= channels) return;
    Norm<V> norm = norm_of<V>(mean, variance, weight, bias, eps, at.channel);
    for (uint64_t row = at.row; row < rows; row += at.step) {
        Pack<T, V> values = read<T, V>(x + row * channels + at.channel);
        for (int i = 0; i < V; i++) {
            float value = normalised(norm, widen(values.at[i]), i);
            values.at[i] = narrow<T>(relu ? fmaxf(value, 0.0f) : value);
        }
        write<T, V>(out + row * channels + at.channel, values);
    }
}
STAMP(scale_shift,
      (const T *x, const float *mean, const float *variance, const float *weight, const float *bias, float eps,
       uint32_t relu, uint64_t rows, uint32_t channels, T *out),
      (x, mean, variance, weight, bias, eps, relu, rows, channels, out))

// max(0, normalised x + residual)
template <typename T, int V>
__device__ void scale_shift_add_relu(const T *x, const T *residual, const float *mean, const float *variance,
                                     const float *weight, const float *bias, float eps, uint64_t rows,
                                     uint32_t channels, T *out) {
    Place at = place<V>();
    if (at.channel >= channels) return;
    Norm<V> norm = norm_of<V>(mean, variance, weight, bias, eps, at.channel);
    for (uint64_t row = at.row; row < rows; row += at.step) {
        Pack<T, V> values = read<T, V>(x + row * channels + at.channel);
        Pack<T, V> added = read<T, V>(residual + row * channels + at.channel);
        for (int i = 0; i < V; i++)
            values.at[i] =
                narrow<T>(fmaxf(normalised(norm, widen(values.at[i]), i) + widen(added.at[i]), 0.0f));
        write<T, V>(out + row * channels + at.channel, values);
    }
}
STAMP(scale_shift_add_relu,
      (const T *x, const T *residual, const float *mean, const float *variance, const float *weight,
       const float *bias, float eps, uint64_t rows, uint32_t channels, T *out),
      (x, residual, mean, variance, weight, bias, eps, rows, channels, out))

// The gradient before a ReLU, given its output.
template <typename T, int V>
__device__ void relu_gradient(const T *output, const T *gradient, uint64_t rows, uint32_t channels, T *out) {
    Place at = place<V>();
    if (at.channel >= channels) return;
    for (uint64_t row = at.row; row < rows; row += at.step) {
        Pack<T, V> values = read<T, V>(output + row * channels + at.channel);
        Pack<T, V> gradients = read<T, V>(gradient + row * channels + at.channel);
        for (int i = 0; i < V; i++)
            if (!(widen(values.at[i]) > 0.0f)) gradients.at[i] = narrow<T>(0.0f);
        write<T, V>(out + row * channels + at.channel, gradients);
    }
}
STAMP(relu_gradient, (const T *output, const T *gradient, uint64_t rows, uint32_t channels, T *out),
      (output, gradient, rows, channels, out))

// For every block of rows, the sums of the gradient before the ReLU, and of that times the distance from the mean:
// (blocks, 2, channels).
template <typename T, int V>
__device__ void parameter_gradients(const T *x, const T *gradient, const float *mean, const float *variance,
                                    const float *weight, const float *bias, float eps, uint32_t relu,
                                    uint64_t rows, uint32_t channels, float *partial) {
    __shared__ float pile[THREADS * V];
    Place at = place<V>();
    float of_bias[V] = {}, of_weight[V] = {};
    if (at.channel < channels) {
        Norm<V> norm = norm_of<V>(mean, variance, weight, bias, eps, at.channel);
        for (uint64_t row = at.row; row < rows; row += at.step) {
            Pack<T, V> values = read<T, V>(x + row * channels + at.channel);
            Pack<T, V> gradients = read<T, V>(gradient + row * channels + at.channel);
            for (int i = 0; i < V; i++) {
                float value = widen(values.at[i]);
                float passed = passed_by(norm, relu, value, widen(gradients.at[i]), i);
                of_bias[i] += passed;
                of_weight[i] = fmaf(passed, value - norm.mean[i], of_weight[i]);
            }
        }
    }
    fold_rows<V>(of_bias, pile);
    fold_rows<V>(of_weight, pile);
    if (at.channel < channels && threadIdx.y == 0) {
        float *to = partial + (uint64_t)blockIdx.y * 2 * channels + at.channel;
        for (int i = 0; i < V; i++) {
            to[i] = of_bias[i];
            to[channels + i] = of_weight[i];
        }
    }
}
STAMP(parameter_gradients,
      (const T *x, const T *gradient, const float *mean, const float *variance, const float *weight,
       const float *bias, float eps, uint32_t relu, uint64_t rows, uint32_t channels, float *partial),
      (x, gradient, mean, variance, weight, bias, eps, relu, rows, channels, partial))

// Gradients of weight and bias, (2, channels), from the results of parameter_gradients.
extern "C" __global__ void __launch_bounds__(THREADS)
    finish_parameter_gradients(const float *partial, uint32_t blocks, const float *variance, float eps,
                               uint32_t channels, float *out) {
    double sums[2];
    sum_blocks(partial, blocks, channels, sums);
    uint32_t channel = blockIdx.x * 32 + threadIdx.x;
    if (threadIdx.y != 0 || channel >= channels) return;
    out[channel] = (float)(sums[1] / (double)sqrtf(variance[channel] + eps));
    out[channels + channel] = (float)sums[0];
}

// Turns the output's gradient into the input's, in place. `sums`, (2, channels), are the gradients of weight and bias
// if the statistics depend on the input (`batch` is 1), otherwise they are not read.
template <typename T, int V>
__device__ void input_gradient(T *gradient, const T *x, const float *mean, const float *variance, const float *weight,
                               const float *bias, float eps, uint32_t relu, uint64_t rows, uint32_t channels,
                               const float *sums, uint32_t batch) {
    Place at = place<V>();
    if (at.channel >= channels) return;
    Norm<V> norm = norm_of<V>(mean, variance, weight, bias, eps, at.channel);
    float offset[V] = {}, slope[V] = {};
    if (batch)
        for (int i = 0; i < V; i++) {
            offset[i] = sums[channels + at.channel + i] / (float)rows;
            slope[i] = sums[at.channel + i] / (float)rows / norm.deviation[i];
        }
    for (uint64_t row = at.row; row < rows; row += at.step) {
        Pack<T, V> values = read<T, V>(x + row * channels + at.channel);
        Pack<T, V> gradients = read<T, V>(gradient + row * channels + at.channel);
        for (int i = 0; i < V; i++) {
            float value = widen(values.at[i]);
            float passed = passed_by(norm, relu, value, widen(gradients.at[i]), i);
            float mixed = passed - offset[i] - (value - norm.mean[i]) * slope[i];
            gradients.at[i] = narrow<T>(norm.scale[i] * mixed);
        }
        write<T, V>(gradient + row * channels + at.channel, gradients);
    }
}
STAMP(input_gradient,
      (T * gradient, const T *x, const float *mean, const float *variance, const float *weight, const float *bias,
       float eps, uint32_t relu, uint64_t rows, uint32_t channels, const float *sums, uint32_t batch),
      (gradient, x, mean, variance, weight, bias, eps, relu, rows, channels, sums, batch))

// Sums over rows, one for each channel; a block has 32 channels.
extern "C" __global__ void __launch_bounds__(THREADS)
    column_sum_f32(const float *x, uint64_t rows, uint32_t channels, float *out) {
    __shared__ double pile[8][32];
    uint32_t channel = blockIdx.x * 32 + threadIdx.x;
    double sum = 0.0;
    if (channel < channels)
        for (uint64_t row = threadIdx.y; row < rows; row += 8) sum += x[row * channels + channel];
    pile[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || channel >= channels) return;
    for (int y = 1; y < 8; y++) sum += pile[y][threadIdx.x];
    out[channel] = (float)sum;
}
