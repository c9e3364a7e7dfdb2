// The Gaussian error linear unit.
#include "common.cuh"

// x P(X <= x) for a standard normal X, V elements per thread.
template <typename T, int V> __device__ void gelu(const T *x, uint64_t packs, T *out) {
    uint64_t i = index_of_thread();
    if (i >= packs) return;
    Pack<T, V> values = read<T, V>(x + i * V);
    for (int j = 0; j < V; j++) {
        float value = widen(values.at[j]);
        values.at[j] = narrow<T>(value * normcdff(value));
    }
    write<T, V>(out + i * V, values);
}
STAMP(gelu, (const T *x, uint64_t packs, T *out), (x, packs, out))

// The gradient of the input.
template <typename T, int V>
__device__ void gelu_gradient(const T *x, const T *gradient, uint64_t packs, T *out) {
    // 1 / sqrt(2 pi), the density of the standard normal distribution at 0.
    const float peak = 0.39894228f;
    uint64_t i = index_of_thread();
    if (i >= packs) return;
    Pack<T, V> values = read<T, V>(x + i * V), gradients = read<T, V>(gradient + i * V);
    for (int j = 0; j < V; j++) {
        float value = widen(values.at[j]);
        float slope = fmaf(value, peak * expf(-0.5f * value * value), normcdff(value));
        gradients.at[j] = narrow<T>(widen(gradients.at[j]) * slope);
    }
    write<T, V>(out + i * V, gradients);
}
STAMP(gelu_gradient, (const T *x, const T *gradient, uint64_t packs, T *out), (x, gradient, packs, out))
