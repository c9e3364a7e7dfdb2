// Sweeps over all elements.
#include "common.cuh"

// x + bias (channels).
template <typename T, int V>
__device__ void add_bias(const T *x, const float *bias, uint64_t rows, uint32_t channels, T *out) {
    Place at = place<V>();
    if (at.channel >= channels) return;
    float own[V];
    read_floats<V>(bias + at.channel, own);
    each_row<T, V>(at, rows, channels, x, [&](uint64_t element, Pack<T, V> values) {
        for (int i = 0; i < V; i++) values.at[i] = narrow<T>(widen(values.at[i]) + own[i]);
        write<T, V>(out + element, values);
    });
}
STAMP(add_bias, (const T *x, const float *bias, uint64_t rows, uint32_t channels, T *out),
      (x, bias, rows, channels, out))

// x (images, rows, channels) times scale (images, channels).
template <typename T, int V>
__device__ void scale_channels(const T *x, const float *scale, uint64_t rows_of_image, uint64_t rows,
                               uint32_t channels, T *out) {
    Place at = place<V>();
    if (at.channel >= channels) return;
    for (uint64_t row = at.row; row < rows; row += at.step) {
        Pack<T, V> values = read<T, V>(x + row * channels + at.channel);
        const float *factors = scale + row / rows_of_image * channels + at.channel;
        for (int i = 0; i < V; i++) values.at[i] = narrow<T>(widen(values.at[i]) * factors[i]);
        write<T, V>(out + row * channels + at.channel, values);
    }
}
STAMP(scale_channels,
      (const T *x, const float *scale, uint64_t rows_of_image, uint64_t rows, uint32_t channels, T *out),
      (x, scale, rows_of_image, rows, channels, out))

// x (rows, size) times scale (rows).
extern "C" __global__ void __launch_bounds__(THREADS)
    scale_rows_f32(const float *x, const float *scale, uint64_t count, uint64_t size, float *out) {
    uint64_t i = index_of_thread();
    if (i < count) out[i] = x[i] * scale[i / size];
}

// Factors of dropout by uniform numbers.
extern "C" __global__ void __launch_bounds__(THREADS)
    dropout_factors(const double *uniforms, double rate, float kept, uint64_t count, float *out) {
    uint64_t i = index_of_thread();
    if (i < count) out[i] = uniforms[i] < rate ? 0.0f : kept;
}

// (N, C, pixels) to (N, pixels, C), minus mean, over deviation. `constants` are the C means and the C deviations.
template <typename S>
__device__ void normalise(const S *x, const float *constants, uint64_t pixels, uint32_t channels, uint64_t count,
                          float *out) {
    uint64_t i = index_of_thread();
    if (i >= count) return;
    uint64_t image = i / pixels, pixel = i % pixels;
    for (uint32_t c = 0; c < channels; c++) {
        S value = x[(image * channels + c) * pixels + pixel];
        out[i * channels + c] = (float)((value - (S)constants[c]) / (S)constants[channels + c]);
    }
}
extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_f32(const float *x, const float *constants, uint64_t pixels, uint32_t channels, uint64_t count,
                  float *out) {
    normalise<float>(x, constants, pixels, channels, count, out);
}
extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_f64(const double *x, const float *constants, uint64_t pixels, uint32_t channels, uint64_t count,
                  float *out) {
    normalise<double>(x, constants, pixels, channels, count, out);
}

// (N, pixels, C) to (N, C, pixels), over deviation.
extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_gradient_f32(const float *gradient, const float *constants, uint64_t pixels, uint32_t channels,
                           uint64_t count, float *out) {
    uint64_t i = index_of_thread();
    if (i >= count) return;
    uint64_t image = i / pixels, pixel = i % pixels;
    for (uint32_t c = 0; c < channels; c++)
        out[(image * channels + c) * pixels + pixel] = gradient[i * channels + c] / constants[channels + c];
}

// A NaN stays a NaN.
template <typename S> __device__ inline S limit(S value, S low, S high) {
    return value < low ? low : value > high ? high : value;
}

template <typename S>
__device__ void sign_step(const S *image, const float *gradient, const S *step, uint64_t size, uint64_t count, S *out) {
    uint64_t i = index_of_thread();
    if (i >= count) return;
    S sign = (S)((gradient[i] > 0.0f) - (gradient[i] < 0.0f));
    out[i] = limit<S>(image[i] + step[i / size] * sign, (S)0, (S)1);
}
extern "C" __global__ void __launch_bounds__(THREADS)
    sign_step_f32(const float *image, const float *gradient, const float *step, uint64_t size, uint64_t count,
                  float *out) {
    sign_step<float>(image, gradient, step, size, count, out);
}
extern "C" __global__ void __launch_bounds__(THREADS)
    sign_step_f64(const double *image, const float *gradient, const double *step, uint64_t size, uint64_t count,
                  double *out) {
    sign_step<double>(image, gradient, step, size, count, out);
}

template <typename S>
__device__ void project(const S *image, const S *origin, const S *epsilon, uint64_t size, uint64_t count, S *out) {
    uint64_t i = index_of_thread();
    if (i >= count) return;
    S radius = epsilon[i / size];
    out[i] = limit<S>(limit<S>(image[i], origin[i] - radius, origin[i] + radius), (S)0, (S)1);
}
extern "C" __global__ void __launch_bounds__(THREADS)
    project_f32(const float *image, const float *origin, const float *epsilon, uint64_t size, uint64_t count,
                float *out) {
    project<float>(image, origin, epsilon, size, count, out);
}
extern "C" __global__ void __launch_bounds__(THREADS)
    project_f64(const double *image, const double *origin, const double *epsilon, uint64_t size, uint64_t count,
                double *out) {
    project<double>(image, origin, epsilon, size, count, out);
}

// Sums of absolute values: of the part of image blockIdx.y that block blockIdx.x has, (images, parts).
extern "C" __global__ void __launch_bounds__(THREADS) l1_norm_parts_f32(const float *x, uint64_t size, double *parts) {
    __shared__ double pile[THREADS];
    const float *image = x + blockIdx.y * size;
    double sum = 0.0;
    for (uint64_t i = index_of_thread(); i < size; i += (uint64_t)gridDim.x * blockDim.x) sum += fabsf(image[i]);
    sum = block_sum(sum, pile);
    if (threadIdx.x == 0) parts[(uint64_t)blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// Sums of (images, parts) over the parts, one block per image.
extern "C" __global__ void __launch_bounds__(THREADS) sum_parts(const double *parts, uint32_t count, float *out) {
    __shared__ double pile[THREADS];
    double sum = 0.0;
    for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) sum += parts[(uint64_t)blockIdx.x * count + i];
    sum = block_sum(sum, pile);
    if (threadIdx.x == 0) out[blockIdx.x] = (float)sum;
}

// A tensor that gather_f32 copies; the same layout as on the host.
struct Source {
    const float *from;
    uint64_t count, start;
};

// Copies tensors to their places in `out`, one block per tensor.
extern "C" __global__ void __launch_bounds__(THREADS) gather_f32(const Source *sources, float *out) {
    Source source = sources[blockIdx.x];
    for (uint64_t i = threadIdx.x; i < source.count; i += blockDim.x) out[source.start + i] = source.from[i];
}

// A matrix with another number of rows and columns, the new ones zeros, one element per thread.
template <typename T, int V>
__device__ void fit(const T *x, uint64_t rows, uint32_t columns, uint32_t to_columns, uint64_t count, T *out) {
    uint64_t i = index_of_thread();
    if (i >= count) return;
    uint64_t row = i / to_columns;
    uint32_t column = i % to_columns;
    out[i] = row < rows && column < columns ? x[row * columns + column] : narrow<T>(0.0f);
}
STAMP_ONE(fit, f32_1, float, 1,
          (const T *x, uint64_t rows, uint32_t columns, uint32_t to_columns, uint64_t count, T *out),
          (x, rows, columns, to_columns, count, out))
STAMP_ONE(fit, bf16_1, bf16, 1,
          (const T *x, uint64_t rows, uint32_t columns, uint32_t to_columns, uint64_t count, T *out),
          (x, rows, columns, to_columns, count, out))

// The largest of all threads' values, which are not negative; every thread gets it.
__device__ inline float block_most(float value, float *pile) {
    pile[threadIdx.x] = value;
    __syncthreads();
    for (uint32_t half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) pile[threadIdx.x] = fmaxf(pile[threadIdx.x], pile[threadIdx.x + half]);
        __syncthreads();
    }
    float most = pile[0];
    __syncthreads();
    return most;
}

// Of each block, the largest difference of `found` from `known`, and behind those the largest known value: (2, blocks).
// What is not a number where the other is one differs without bound.
template <typename T, int V> __device__ void deviation(const T *found, const T *known, uint64_t count, float *most) {
    __shared__ float pile[THREADS];
    float difference = 0.0f, value = 0.0f;
    for (uint64_t i = index_of_thread(); i < count; i += (uint64_t)gridDim.x * blockDim.x) {
        float own = widen(found[i]), other = widen(known[i]);
        float distance = own == other || (own != own && other != other) ? 0.0f : fabsf(own - other);
        difference = fmaxf(difference, distance == distance ? distance : INFINITY);
        value = fmaxf(value, other == other ? fabsf(other) : INFINITY);
    }
    difference = block_most(difference, pile);
    value = block_most(value, pile);
    if (threadIdx.x != 0) return;
    most[blockIdx.x] = difference;
    most[gridDim.x + blockIdx.x] = value;
}
STAMP_ONE(deviation, f32_1, float, 1, (const T *found, const T *known, uint64_t count, float *most),
          (found, known, count, most))
STAMP_ONE(deviation, bf16_1, bf16, 1, (const T *found, const T *known, uint64_t count, float *most),
          (found, known, count, most))

// to += added, V elements per thread.
template <typename T, int V> __device__ void accumulate(T *to, const T *added, uint64_t packs) {
    uint64_t i = index_of_thread();
    if (i >= packs) return;
    Pack<T, V> values = read<T, V>(to + i * V), others = read<T, V>(added + i * V);
    for (int j = 0; j < V; j++) values.at[j] = narrow<T>(widen(values.at[j]) + widen(others.at[j]));
    write<T, V>(to + i * V, values);
}
STAMP(accumulate, (T * to, const T *added, uint64_t packs), (to, added, packs))
