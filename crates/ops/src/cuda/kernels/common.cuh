// Code that the kernels share: elements, wide accesses, the division of a sheet among threads, sums over a block.
//
// Activations are f32 or bf16 and computed with in f32. A kernel of activations is stamped for both types, each for one
// element per access and for 16 bytes per access (4 or 8 elements). The launch chooses between them by the number of
// channels. Only integers are added atomically, so results do not depend on the order in which blocks run.
#pragma once

#include <cuda_bf16.h>
#include <math.h>
#include <stdint.h>

typedef __nv_bfloat16 bf16;

__device__ inline float widen(float value) { return value; }
__device__ inline float widen(bf16 value) { return __bfloat162float(value); }

template <typename T> __device__ inline T narrow(float value);
template <> __device__ inline float narrow<float>(float value) { return value; }
template <> __device__ inline bf16 narrow<bf16>(float value) { return __float2bfloat16_rn(value); }

// V elements that are read and written at once.
template <typename T, int V> struct alignas(sizeof(T) * V) Pack {
    T at[V];
};

template <typename T, int V> __device__ inline Pack<T, V> read(const T *from) {
    return *reinterpret_cast<const Pack<T, V> *>(from);
}

template <typename T, int V> __device__ inline void write(T *to, const Pack<T, V> &pack) {
    *reinterpret_cast<Pack<T, V> *>(to) = pack;
}

template <int V> __device__ inline void read_floats(const float *from, float (&to)[V]) {
    for (int i = 0; i < V; i++) to[i] = from[i];
}

// Rows are pixels, columns are channels. A thread has V channels next to each other and every `step`th row; threads of a
// warp are neighbours along the channels, then along the rows, so that a warp reads memory without gaps.
struct Place {
    uint32_t channel;
    uint64_t row, step;
};

template <int V> __device__ inline Place place() {
    Place at;
    at.channel = (blockIdx.x * blockDim.x + threadIdx.x) * V;
    at.row = (uint64_t)blockIdx.y * blockDim.y + threadIdx.y;
    at.step = (uint64_t)gridDim.y * blockDim.y;
    return at;
}

// Rows that a thread reads before it computes with the first of them.
#define AHEAD 4

// Calls `work(element, values)` for the rows of `x` that a thread has, in their order. `element` is the index of the
// first of the V values.
template <typename T, int V, typename Work>
__device__ inline void each_row(const Place &at, uint64_t rows, uint32_t channels, const T *x, Work work) {
    uint64_t row = at.row;
    for (; row + (AHEAD - 1) * at.step < rows; row += AHEAD * at.step) {
        Pack<T, V> values[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; i++) values[i] = read<T, V>(x + (row + i * at.step) * channels + at.channel);
#pragma unroll
        for (int i = 0; i < AHEAD; i++) work((row + i * at.step) * channels + at.channel, values[i]);
    }
    for (; row < rows; row += at.step) {
        uint64_t element = row * channels + at.channel;
        work(element, read<T, V>(x + element));
    }
}

// Calls `work(element, values of x, values of y)` likewise.
template <typename T, int V, typename Work>
__device__ inline void each_row(const Place &at, uint64_t rows, uint32_t channels, const T *x, const T *y, Work work) {
    uint64_t row = at.row;
    for (; row + (AHEAD - 1) * at.step < rows; row += AHEAD * at.step) {
        Pack<T, V> first[AHEAD], second[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            uint64_t element = (row + i * at.step) * channels + at.channel;
            first[i] = read<T, V>(x + element);
            second[i] = read<T, V>(y + element);
        }
#pragma unroll
        for (int i = 0; i < AHEAD; i++) work((row + i * at.step) * channels + at.channel, first[i], second[i]);
    }
    for (; row < rows; row += at.step) {
        uint64_t element = row * channels + at.channel;
        work(element, read<T, V>(x + element), read<T, V>(y + element));
    }
}

// The element that a thread of a one-dimensional launch has.
__device__ inline uint64_t index_of_thread() { return (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; }

// The largest number of threads in a block, for all launches.
#define THREADS 256

// Adds up `values` over the threads of a block that have the same threadIdx.x; the sum is right where threadIdx.y is 0.
// blockDim.y is a power of two. `pile` has room for THREADS times V.
template <int V> __device__ inline void fold_rows(float (&values)[V], float *pile) {
    uint32_t own = (threadIdx.y * blockDim.x + threadIdx.x) * V;
    for (int i = 0; i < V; i++) pile[own + i] = values[i];
    __syncthreads();
    for (uint32_t half = blockDim.y / 2; half > 0; half /= 2) {
        if (threadIdx.y < half)
            for (int i = 0; i < V; i++) pile[own + i] += pile[own + half * blockDim.x * V + i];
        __syncthreads();
    }
    for (int i = 0; i < V; i++) values[i] = pile[own + i];
    __syncthreads();
}

// The sum of `value` over all threads of a one-dimensional block whose size is a power of two; every thread gets it.
template <typename S> __device__ inline S block_sum(S value, S *pile) {
    pile[threadIdx.x] = value;
    __syncthreads();
    for (uint32_t half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) pile[threadIdx.x] += pile[threadIdx.x + half];
        __syncthreads();
    }
    S sum = pile[0];
    __syncthreads();
    return sum;
}

// Stamps NAME_f32_1, NAME_f32_4, NAME_bf16_1 and NAME_bf16_8 from the template NAME<T, V>, of parameters PARAMETERS that
// are passed on as ARGUMENTS.
#define STAMP(NAME, PARAMETERS, ARGUMENTS)                                                                             \
    STAMP_ONE(NAME, f32_1, float, 1, PARAMETERS, ARGUMENTS)                                                            \
    STAMP_ONE(NAME, f32_4, float, 4, PARAMETERS, ARGUMENTS)                                                            \
    STAMP_ONE(NAME, bf16_1, bf16, 1, PARAMETERS, ARGUMENTS)                                                            \
    STAMP_ONE(NAME, bf16_8, bf16, 8, PARAMETERS, ARGUMENTS)
#define STAMP_ONE(NAME, SUFFIX, TYPE, WIDTH, PARAMETERS, ARGUMENTS)                                                    \
    namespace NAME##_##SUFFIX##_types {                                                                                \
    using T = TYPE;                                                                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS) NAME##_##SUFFIX PARAMETERS { NAME<TYPE, WIDTH> ARGUMENTS; }  \
    }                                                                                                                  \
    using NAME##_##SUFFIX##_types::NAME##_##SUFFIX;
