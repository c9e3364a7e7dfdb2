// Batch norm, with ReLU if `relu` is 1, and the sums over pixels that it needs.
#include "column_sums.cuh"

// A batch norm's values for V channels.
template <int V> struct Norm {
    float mean[V], deviation[V], scale[V], shift[V];
};

// The values of a block's channels are computed once, each by one thread. All threads of the block have to call this.
template <int V>
__device__ inline Norm<V> norm_of(const float *mean, const float *variance, const float *weight, const float *bias,
                                  float eps, uint32_t channels) {
    // A block has at most THREADS channels: V is at most 8, blockDim.x at most 32.
    __shared__ float shared[4][THREADS];
    uint32_t own = threadIdx.y * blockDim.x + threadIdx.x, channel = blockIdx.x * blockDim.x * V + own;
    if (own < blockDim.x * V && channel < channels) {
        float deviation = sqrtf(variance[channel] + eps), scale = weight[channel] / deviation;
        shared[0][own] = mean[channel];
        shared[1][own] = deviation;
        shared[2][own] = scale;
        shared[3][own] = bias[channel] - mean[channel] * scale;
    }
    __syncthreads();
    Norm<V> norm;
    for (int i = 0; i < V; i++) {
        uint32_t from = threadIdx.x * V + i;
        norm.mean[i] = shared[0][from];
        norm.deviation[i] = shared[1][from];
        norm.scale[i] = shared[2][from];
        norm.shift[i] = shared[3][from];
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
    Place at = place<V>();
    float first[V] = {}, second[V] = {};
    if (at.channel < channels) {
        Pack<T, V> pivot = read<T, V>(x + at.channel);
        each_row<T, V>(at, rows, channels, x, [&](uint64_t, const Pack<T, V> &values) {
            for (int i = 0; i < V; i++) {
                float distance = widen(values.at[i]) - widen(pivot.at[i]);
                first[i] += distance;
                second[i] = fmaf(distance, distance, second[i]);
            }
        });
        if (blockIdx.y == 0 && threadIdx.y == 0)
            for (int i = 0; i < V; i++)
                partial[(uint64_t)gridDim.y * 2 * channels + at.channel + i] = widen(pivot.at[i]);
    }
    write_sums<V>(at, channels, first, second, partial);
}
STAMP(column_moments, (const T *x, uint64_t rows, uint32_t channels, float *partial), (x, rows, channels, partial))

// Mean and biased variance, (2, channels), from the results of column_moments.
extern "C" __global__ void __launch_bounds__(THREADS)
    finish_moments(const float *partial, uint32_t blocks, uint64_t rows, uint32_t channels, float *out) {
    double sums[2];
    sum_blocks<2>(partial, blocks, channels, sums);
    uint32_t channel = finished_channel();
    if (threadIdx.y != 0 || channel >= channels) return;
    double first = sums[0] / (double)rows, variance = sums[1] / (double)rows - first * first;
    out[channel] = (float)(partial[(uint64_t)blocks * 2 * channels + channel] + first);
    // A NaN stays one.
    out[channels + channel] = variance < 0.0 ? 0.0f : (float)variance;
}

// target = kept target + taken batch: running statistics, given those of a batch.
extern "C" __global__ void __launch_bounds__(THREADS)
    blend_f32(float *target, const float *batch, float kept, float taken, uint64_t count) {
    uint64_t i = index_of_thread();
    if (i < count) target[i] = kept * target[i] + taken * batch[i];
}

// The normalised x, and with `relu` the larger of that and 0.
template <typename T, int V>
__device__ void scale_shift(const T *x, const float *mean, const float *variance, const float *weight,
                            const float *bias, float eps, uint32_t relu, uint64_t rows, uint32_t channels, T *out) {
    Place at = place<V>();
    Norm<V> norm = norm_of<V>(mean, variance, weight, bias, eps, channels);
    if (at.channel >= channels) return;
    each_row<T, V>(at, rows, channels, x, [&](uint64_t element, Pack<T, V> values) {
        for (int i = 0; i < V; i++) {
            float value = normalised(norm, widen(values.at[i]), i);
            values.at[i] = narrow<T>(relu ? fmaxf(value, 0.0f) : value);
        }
        write<T, V>(out + element, values);
    });
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
    Norm<V> norm = norm_of<V>(mean, variance, weight, bias, eps, channels);
    if (at.channel >= channels) return;
    each_row<T, V>(at, rows, channels, x, residual,
                   [&](uint64_t element, Pack<T, V> values, const Pack<T, V> &added) {
                       for (int i = 0; i < V; i++)
                           values.at[i] = narrow<T>(
                               fmaxf(normalised(norm, widen(values.at[i]), i) + widen(added.at[i]), 0.0f));
                       write<T, V>(out + element, values);
                   });
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
    each_row<T, V>(at, rows, channels, output, gradient,
                   [&](uint64_t element, const Pack<T, V> &values, Pack<T, V> gradients) {
                       for (int i = 0; i < V; i++)
                           if (!(widen(values.at[i]) > 0.0f)) gradients.at[i] = narrow<T>(0.0f);
                       write<T, V>(out + element, gradients);
                   });
}
STAMP(relu_gradient, (const T *output, const T *gradient, uint64_t rows, uint32_t channels, T *out),
      (output, gradient, rows, channels, out))

// For every block of rows, the sums of the gradient before the ReLU, and of that times the distance from the mean:
// (blocks, 2, channels).
template <typename T, int V>
__device__ void parameter_gradients(const T *x, const T *gradient, const float *mean, const float *variance,
                                    const float *weight, const float *bias, float eps, uint32_t relu,
                                    uint64_t rows, uint32_t channels, float *partial) {
    Place at = place<V>();
    Norm<V> norm = norm_of<V>(mean, variance, weight, bias, eps, channels);
    float of_bias[V] = {}, of_weight[V] = {};
    if (at.channel < channels)
        each_row<T, V>(at, rows, channels, x, gradient,
                       [&](uint64_t, const Pack<T, V> &values, const Pack<T, V> &gradients) {
                           for (int i = 0; i < V; i++) {
                               float value = widen(values.at[i]);
                               float passed = passed_by(norm, relu, value, widen(gradients.at[i]), i);
                               of_bias[i] += passed;
                               of_weight[i] = fmaf(passed, value - norm.mean[i], of_weight[i]);
                           }
                       });
    write_sums<V>(at, channels, of_bias, of_weight, partial);
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
    sum_blocks<2>(partial, blocks, channels, sums);
    uint32_t channel = finished_channel();
    if (threadIdx.y != 0 || channel >= channels) return;
    out[channel] = (float)(sums[1] / (double)sqrtf(variance[channel] + eps));
    out[channels + channel] = (float)sums[0];
}

// Turns the output's gradient into the input's, in place, and adds `before` to it unless that is null. `sums`,
// (2, channels), are the gradients of weight and bias if the statistics depend on the input (`batch` is 1), otherwise
// they are not read.
template <typename T, int V>
__device__ void input_gradient(T *gradient, const T *x, const float *mean, const float *variance, const float *weight,
                               const float *bias, float eps, uint32_t relu, uint64_t rows, uint32_t channels,
                               const float *sums, uint32_t batch, const T *before) {
    __shared__ float shared[2][THREADS];
    Place at = place<V>();
    uint32_t own = threadIdx.y * blockDim.x + threadIdx.x, channel = blockIdx.x * blockDim.x * V + own;
    if (batch && own < blockDim.x * V && channel < channels) {
        shared[0][own] = sums[channels + channel] / (float)rows;
        shared[1][own] = sums[channel] / (float)rows / sqrtf(variance[channel] + eps);
    }
    Norm<V> norm = norm_of<V>(mean, variance, weight, bias, eps, channels);
    if (at.channel >= channels) return;
    float offset[V] = {}, slope[V] = {};
    if (batch)
        for (int i = 0; i < V; i++) {
            offset[i] = shared[0][threadIdx.x * V + i];
            slope[i] = shared[1][threadIdx.x * V + i];
        }
    each_row<T, V>(at, rows, channels, x, gradient,
                   [&](uint64_t element, const Pack<T, V> &values, Pack<T, V> gradients) {
                       Pack<T, V> added = {};
                       if (before) added = read<T, V>(before + element);
                       for (int i = 0; i < V; i++) {
                           float value = widen(values.at[i]);
                           float passed = passed_by(norm, relu, value, widen(gradients.at[i]), i);
                           float mixed = passed - offset[i] - (value - norm.mean[i]) * slope[i];
                           float result = norm.scale[i] * mixed;
                           gradients.at[i] = narrow<T>(before ? result + widen(added.at[i]) : result);
                       }
                       write<T, V>(gradient + element, gradients);
                   });
}
STAMP(input_gradient,
      (T * gradient, const T *x, const float *mean, const float *variance, const float *weight, const float *bias,
       float eps, uint32_t relu, uint64_t rows, uint32_t channels, const float *sums, uint32_t batch, const T *before),
      (gradient, x, mean, variance, weight, bias, eps, relu, rows, channels, sums, batch, before))
