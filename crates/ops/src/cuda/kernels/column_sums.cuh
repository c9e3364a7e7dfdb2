// Sums over rows, in two stages: blocks of rows, then their results in double precision. The order of the additions
// depends on the sizes alone.
#pragma once

#include "common.cuh"

// Writes the two sums of each channel over a block of rows to (blocks, 2, channels).
template <int V>
__device__ inline void write_sums(const Place &at, uint32_t channels, float (&first)[V], float (&second)[V],
                                  float *partial) {
    __shared__ float pile[THREADS * V];
    fold_rows<V>(first, pile);
    fold_rows<V>(second, pile);
    if (at.channel >= channels || threadIdx.y != 0) return;
    float *to = partial + (uint64_t)blockIdx.y * 2 * channels + at.channel;
    for (int i = 0; i < V; i++) {
        to[i] = first[i];
        to[channels + i] = second[i];
    }
}

// Channels and rows of threads of a block that adds up partial sums.
#define ACROSS 8
#define DOWN 32

// The channel of a thread of such a block.
__device__ inline uint32_t finished_channel() { return blockIdx.x * ACROSS + threadIdx.x; }

// The sums of (blocks, SUMS, channels) over the blocks, of one channel for each threadIdx.x, in double precision; right
// where threadIdx.y is 0. The block is ACROSS x DOWN.
template <int SUMS, typename S>
__device__ inline void sum_blocks(const S *partial, uint32_t blocks, uint32_t channels, double (&sums)[SUMS]) {
    __shared__ double pile[SUMS][DOWN][ACROSS];
    uint32_t channel = finished_channel();
    for (int which = 0; which < SUMS; which++) sums[which] = 0.0;
    if (channel < channels) {
#pragma unroll 4
        for (uint32_t block = threadIdx.y; block < blocks; block += DOWN)
            for (int which = 0; which < SUMS; which++)
                sums[which] += partial[((uint64_t)block * SUMS + which) * channels + channel];
    }
    for (int which = 0; which < SUMS; which++) pile[which][threadIdx.y][threadIdx.x] = sums[which];
    __syncthreads();
    if (threadIdx.y == 0)
        for (int which = 0; which < SUMS; which++)
            for (int y = 1; y < DOWN; y++) sums[which] += pile[which][y][threadIdx.x];
}
