// Stochastic gradient descent over all parameters in one launch.
#include "common.cuh"

// One parameter; the same layout as on the host.
struct Update {
    float *parameter;
    const float *gradient;
    float *velocity;
    uint64_t count;
    float learning_rate, momentum, weight_decay, unused;
};

// A part of a parameter, which one block has.
struct Part {
    uint32_t update, unused;
    uint64_t start;
};

#define PART 16384

// The smallest index of an update whose gradient is not finite goes to `first`, which starts above all indices.
extern "C" __global__ void __launch_bounds__(THREADS)
    first_not_finite(const Update *updates, const Part *parts, uint32_t *first) {
    Part part = parts[blockIdx.x];
    Update update = updates[part.update];
    uint64_t end = part.start + PART < update.count ? part.start + PART : update.count;
    bool found = false;
    for (uint64_t i = part.start + threadIdx.x; i < end; i += blockDim.x) {
        float value = update.gradient[i];
        // The difference of an infinity from itself is a NaN as well.
        found |= !(value - value == 0.0f);
    }
    if (found) atomicMin(first, part.update);
}

// velocity = momentum velocity + gradient + weight_decay parameter; parameter -= learning_rate velocity. Nothing
// changes if `first` names an update.
extern "C" __global__ void __launch_bounds__(THREADS)
    sgd_step(const Update *updates, const Part *parts, const uint32_t *first, uint32_t count) {
    if (*first < count) return;
    Part part = parts[blockIdx.x];
    Update update = updates[part.update];
    uint64_t end = part.start + PART < update.count ? part.start + PART : update.count;
    for (uint64_t i = part.start + threadIdx.x; i < end; i += blockDim.x) {
        float parameter = update.parameter[i];
        float velocity = update.momentum * update.velocity[i];
        velocity += update.gradient[i] + update.weight_decay * parameter;
        update.velocity[i] = velocity;
        update.parameter[i] = parameter - update.learning_rate * velocity;
    }
}
