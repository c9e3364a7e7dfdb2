// What optimisers share: the parts of parameters, and the search for a gradient that is not finite.
#pragma once
#include "common.cuh"

// A part of a parameter, which one block has.
struct Part {
    uint32_t update, unused;
    uint64_t start;
};

#define PART 16384

// The end of a part.
template <typename Update> __device__ inline uint64_t end_of(const Part &part, const Update &update) {
    return part.start + PART < update.count ? part.start + PART : update.count;
}

// The smallest index of an update whose gradient is not finite goes to `first`, which starts above all indices.
template <typename Update>
__device__ inline void find_not_finite(const Update *updates, const Part *parts, uint32_t *first) {
    Part part = parts[blockIdx.x];
    Update update = updates[part.update];
    uint64_t end = end_of(part, update);
    bool found = false;
    for (uint64_t i = part.start + threadIdx.x; i < end; i += blockDim.x) {
        float value = update.gradient[i];
        // The difference of an infinity from itself is a NaN as well.
        found |= !(value - value == 0.0f);
    }
    if (found) atomicMin(first, part.update);
}
