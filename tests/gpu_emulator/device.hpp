// Everything that nvcc provides without an include, as C++. Included before every kernel file.
#pragma once

#include <cassert>
#include <cstdio>
#include <cstring>
#include <math.h>
#include <stdint.h>
#include <type_traits>

#include "kernel.hpp"

// scripts/gpu_emulator.sh preprocesses a file with EMULATED_LISTING to find its kernels by these marks.
#ifndef EMULATED_LISTING
#define __global__
#define __launch_bounds__(...)
#endif
#define __device__ __attribute__((unused))
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __constant__ static const
#define __shared__ static thread_local
#define __align__(bytes) alignas(bytes)

#define __CUDACC__ 1
// candle's only code for newer architectures is about 8-bit floats.
#define __CUDA_ARCH__ 800
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0

#define threadIdx emulator::position.thread
#define blockIdx emulator::position.block
#define blockDim emulator::position.block_extent
#define gridDim emulator::position.grid_extent
constexpr int warpSize = 32;

// --- Vectors --------------------------------------------------------------------------------------

#define EMULATED_VECTORS(NAME, T)                                                                            \
    struct NAME##1 { T x; };                                                                                 \
    struct alignas(2 * sizeof(T)) NAME##2 { T x, y; };                                                       \
    struct alignas(sizeof(T) < 8 ? 4 * sizeof(T) : 16) NAME##4 { T x, y, z, w; };                            \
    inline NAME##1 make_##NAME##1(T x) { return {x}; }                                                       \
    inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                                               \
    inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATED_VECTORS(char, signed char)
EMULATED_VECTORS(uchar, unsigned char)
EMULATED_VECTORS(short, short)
EMULATED_VECTORS(ushort, unsigned short)
EMULATED_VECTORS(int, int)
EMULATED_VECTORS(uint, unsigned)
EMULATED_VECTORS(longlong, long long)
EMULATED_VECTORS(ulonglong, unsigned long long)
EMULATED_VECTORS(float, float)
EMULATED_VECTORS(double, double)
#undef EMULATED_VECTORS

struct int3 { int x, y, z; };
struct float3 { float x, y, z; };
inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }

// --- Waiting for other threads ----------------------------------------------------------------------

inline void __syncthreads() { emulator::wait_at_barrier(emulator::Wait::barrier, 0); }
inline int __syncthreads_or(int predicate) { return emulator::wait_at_barrier(emulator::Wait::barrier_or, predicate); }
inline int __syncthreads_and(int predicate) { return emulator::wait_at_barrier(emulator::Wait::barrier_and, predicate); }
inline int __syncthreads_count(int predicate) { return emulator::wait_at_barrier(emulator::Wait::barrier_count, predicate); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

template <typename T>
T emulated_exchange(unsigned mask, T value, int source, bool own) {
    static_assert(sizeof(T) <= 8, "shuffles exchange at most 8 bytes");
    T taken = value;
    emulator::exchange(mask, own ? (int)emulator::lane() : source, &taken, sizeof taken);
    return taken;
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    return emulated_exchange(mask, value, (emulator::lane() & ~(width - 1)) | (source & (width - 1)), false);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int distance, int width = 32) {
    int lane = emulator::lane(), source = lane ^ distance;
    return emulated_exchange(mask, value, source, source >= (lane & ~(width - 1)) + width);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32) {
    int lane = emulator::lane(), source = lane + distance;
    return emulated_exchange(mask, value, source, source >= (lane & ~(width - 1)) + width);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32) {
    int lane = emulator::lane(), source = lane - (int)distance;
    return emulated_exchange(mask, value, source, source < (lane & ~(width - 1)));
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFF) { emulated_exchange(mask, 0, 0, true); }
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    // Lane by lane: votes are rare.
    unsigned votes = 0;
    for (int lane = 0; lane < 32; ++lane)
        if (mask >> lane & 1) votes |= (unsigned)(__shfl_sync(mask, (int)(predicate != 0), lane) == 1) << lane;
    return votes;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

// --- Atomics ----------------------------------------------------------------------------------------

template <typename T, typename F>
T emulated_atomic(T *address, F next) {
    using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, std::conditional_t<sizeof(T) == 4, uint32_t, std::conditional_t<sizeof(T) == 2, uint16_t, uint8_t>>>;
    auto bits = (Bits *)address;
    Bits seen = __atomic_load_n(bits, __ATOMIC_RELAXED);
    for (;;) {
        T old, value;
        memcpy((void *)&old, &seen, sizeof old);
        value = next(old);
        Bits wanted;
        memcpy(&wanted, (void *)&value, sizeof wanted);
        if (__atomic_compare_exchange_n(bits, &seen, wanted, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return old;
    }
}
template <typename T, typename V>
T atomicAdd(T *address, V value) { return emulated_atomic(address, [=](T old) { return (T)(old + (T)value); }); }
template <typename T, typename V>
T atomicSub(T *address, V value) { return emulated_atomic(address, [=](T old) { return (T)(old - (T)value); }); }
template <typename T, typename V>
T atomicMax(T *address, V value) { return emulated_atomic(address, [=](T old) { return old < (T)value ? (T)value : old; }); }
template <typename T, typename V>
T atomicMin(T *address, V value) { return emulated_atomic(address, [=](T old) { return (T)value < old ? (T)value : old; }); }
template <typename T, typename V>
T atomicExch(T *address, V value) { return emulated_atomic(address, [=](T) { return (T)value; }); }
template <typename T, typename V>
T atomicOr(T *address, V value) { return emulated_atomic(address, [=](T old) { return (T)(old | (T)value); }); }
template <typename T, typename V>
T atomicAnd(T *address, V value) { return emulated_atomic(address, [=](T old) { return (T)(old & (T)value); }); }
template <typename T, typename E, typename V>
T atomicCAS(T *address, E expected, V value) {
    return emulated_atomic(address, [=](T old) { return old == (T)expected ? (T)value : old; });
}
inline unsigned atomicInc(unsigned *address, unsigned limit) {
    return emulated_atomic(address, [=](unsigned old) { return old >= limit ? 0 : old + 1; });
}

// --- Functions --------------------------------------------------------------------------------------

template <typename A, typename B, typename = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
constexpr auto min(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return (T)fmin((T)a, (T)b);
    else return (T)b < (T)a ? (T)b : (T)a;
}
template <typename A, typename B, typename = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
constexpr auto max(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return (T)fmax((T)a, (T)b);
    else return (T)a < (T)b ? (T)b : (T)a;
}

template <typename T> T __ldg(const T *address) { return *address; }
template <typename T> T __ldcs(const T *address) { return *address; }
template <typename T> T __ldcg(const T *address) { return *address; }
template <typename T> void __stcs(T *address, T value) { *address = value; }
template <typename T> void __stcg(T *address, T value) { *address = value; }

template <typename To, typename From>
To emulated_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy((void *)&to, (void *)&from, sizeof to);
    return to;
}
inline unsigned __float_as_uint(float x) { return emulated_bits<unsigned>(x); }
inline int __float_as_int(float x) { return emulated_bits<int>(x); }
inline float __uint_as_float(unsigned x) { return emulated_bits<float>(x); }
inline float __int_as_float(int x) { return emulated_bits<float>(x); }
inline long long __double_as_longlong(double x) { return emulated_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return emulated_bits<double>(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __brev(unsigned x) {
    unsigned reversed = 0;
    for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1) << (31 - i);
    return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline int __mulhi(int a, int b) { return (int)((int64_t)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline double normcdf(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }
inline float normcdff(float x) { return (float)normcdf(x); }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1) : 0; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fdividef(float a, float b) { return a / b; }
inline int __float2int_rn(float x) { return (int)rintf(x); }
inline int __float2int_rz(float x) { return (int)x; }
inline int __float2int_rd(float x) { return (int)floorf(x); }
inline float __int2float_rn(int x) { return (float)x; }
inline float __uint2float_rn(unsigned x) { return (float)x; }
// glibc declares functions of these names.
#define __expf expf
#define __logf logf
#define __log2f log2f
#define __powf powf
#define __sinf sinf
#define __cosf cosf
