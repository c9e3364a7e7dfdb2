// Where pixels lie between those of a smaller map.
#pragma once
#include "common.cuh"

// Sizes of an upsampling; the same layout as on the host.
struct Resize {
    uint32_t source_height, source_width, height, width, channels;
    uint32_t aligned; // 1: the corners fall onto each other
};

// The two source positions around a target position, and the weight of the second.
struct Between {
    uint32_t first, second;
    float weight;
};

__device__ inline Between between(uint32_t index, uint32_t source, uint32_t target, uint32_t aligned) {
    double last = (double)(source - 1);
    double at = aligned ? (target > 1 ? (double)index * last / (double)(target - 1) : 0.0)
                        : ((double)index + 0.5) * (double)source / (double)target - 0.5;
    at = at < 0.0 ? 0.0 : at > last ? last : at;
    Between result;
    result.first = (uint32_t)at;
    result.second = result.first + 1 < source ? result.first + 1 : source - 1;
    result.weight = (float)(at - (double)result.first);
    return result;
}

// The first target position at or after source position `first`, or `target` if there is none.
__device__ inline uint32_t first_target(uint32_t first, uint32_t source, uint32_t target, uint32_t aligned) {
    uint32_t low = 0, high = target;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (between(middle, source, target, aligned).first >= first)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

__device__ inline float mix(float first, float second, float weight) { return fmaf(weight, second - first, first); }
