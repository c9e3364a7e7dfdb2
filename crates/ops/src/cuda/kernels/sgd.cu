// Stochastic gradient descent over all parameters in one launch.
#include "descent.cuh"

// One parameter; the same layout as on the host.
struct SgdUpdate {
    float *parameter;
    const float *gradient;
    float *velocity;
    // The parameter's copy, or null.
    bf16 *rounded;
    uint64_t count;
    float learning_rate, momentum, weight_decay;
    uint32_t nesterov;
};

extern "C" __global__ void __launch_bounds__(THREADS)
    sgd_first_not_finite(const SgdUpdate *updates, const Part *parts, uint32_t *first) {
    find_not_finite(updates, parts, first);
}

// direction = gradient + weight_decay parameter; velocity = momentum velocity + direction; parameter -= learning_rate
// velocity, or learning_rate (direction + momentum velocity) with Nesterov's momentum. Nothing changes if `first` names
// an update.
extern "C" __global__ void __launch_bounds__(THREADS)
    sgd_step(const SgdUpdate *updates, const Part *parts, const uint32_t *first, uint32_t count) {
    if (*first < count) return;
    Part part = parts[blockIdx.x];
    SgdUpdate update = updates[part.update];
    uint64_t end = end_of(part, update);
    for (uint64_t i = part.start + threadIdx.x; i < end; i += blockDim.x) {
        float parameter = update.parameter[i];
        float velocity = update.momentum * update.velocity[i];
        float direction = update.gradient[i] + update.weight_decay * parameter;
        velocity += direction;
        update.velocity[i] = velocity;
        float change = update.nesterov ? direction + update.momentum * velocity : velocity;
        parameter -= update.learning_rate * change;
        update.parameter[i] = parameter;
        if (update.rounded) update.rounded[i] = narrow<bf16>(parameter);
    }
}
