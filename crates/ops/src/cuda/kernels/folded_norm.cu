// Batch norms folded into the convolutions before them.
#include "common.cuh"

// The weight (outputs, size) times the scale of a batch norm of its outputs, V elements of one output per thread, and
// the bias that the norm leaves, (outputs).
template <typename T, int V>
__device__ void fold_norm(const float *weight, const float *mean, const float *variance, const float *gain,
                          const float *shift, float eps, uint64_t size, uint64_t count, T *folded, T *bias) {
    uint64_t first = index_of_thread() * V;
    if (first >= count) return;
    uint64_t output = first / size;
    float scale = gain[output] / sqrtf(variance[output] + eps);
    if (first % size == 0) bias[output] = narrow<T>(shift[output] - mean[output] * scale);
    // Weights are read by 16 bytes at most.
    constexpr int READ = V < 4 ? V : 4;
    Pack<T, V> values;
#pragma unroll
    for (int i = 0; i < V; i += READ) {
        Pack<float, READ> some = read<float, READ>(weight + first + i);
        for (int j = 0; j < READ; j++) values.at[i + j] = narrow<T>(some.at[j] * scale);
    }
    write<T, V>(folded + first, values);
}
STAMP(fold_norm,
      (const float *weight, const float *mean, const float *variance, const float *gain, const float *shift, float eps,
       uint64_t size, uint64_t count, T *folded, T *bias),
      (weight, mean, variance, gain, shift, eps, size, count, folded, bias))

// x = max(0, x + bias (channels)), in place.
template <typename T, int V> __device__ void bias_relu(T *x, const T *bias, uint64_t rows, uint32_t channels) {
    Place at = place<V>();
    if (at.channel >= channels) return;
    Pack<T, V> own = read<T, V>(bias + at.channel);
    each_row<T, V>(at, rows, channels, x, [&](uint64_t element, Pack<T, V> values) {
        for (int i = 0; i < V; i++)
            values.at[i] = narrow<T>(fmaxf(widen(values.at[i]) + widen(own.at[i]), 0.0f));
        write<T, V>(x + element, values);
    });
}
STAMP(bias_relu, (T * x, const T *bias, uint64_t rows, uint32_t channels), (x, bias, rows, channels))
