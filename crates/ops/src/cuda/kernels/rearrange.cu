// Elements brought to other places.
#include "common.cuh"

// Four axes, with the distances between elements in units of the elements or packs that are moved.
struct Arrangement {
    uint32_t extents[4];
    uint64_t from[4], to[4];
};

template <typename T> __device__ void rearrange(const T *from, Arrangement a, uint64_t count, T *to) {
    uint64_t rest = index_of_thread();
    if (rest >= count) return;
    uint64_t source = 0, target = 0;
    for (int axis = 3; axis >= 0; axis--) {
        uint64_t at = rest % a.extents[axis];
        rest /= a.extents[axis];
        source += at * a.from[axis];
        target += at * a.to[axis];
    }
    to[target] = from[source];
}

// For elements of 2 and 4 bytes, and packs of 16.
#define REARRANGE(BYTES, TYPE)                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS)                                 \
        rearrange_##BYTES(const TYPE *from, Arrangement a, uint64_t count, TYPE *to) {    \
        rearrange<TYPE>(from, a, count, to);                                              \
    }
REARRANGE(2, uint16_t)
REARRANGE(4, uint32_t)
REARRANGE(16, uint4)
