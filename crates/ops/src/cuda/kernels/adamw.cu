// AdamW over all parameters in one launch.
#include "descent.cuh"

// One parameter; the same layout as on the host.
struct AdamWUpdate {
    float *parameter;
    const float *gradient;
    float *mean, *square;
    // The parameter's copy, or null.
    bf16 *rounded;
    uint64_t count;
    float mean_kept, mean_new, square_kept, square_new, kept, step_size, root, epsilon;
};

extern "C" __global__ void __launch_bounds__(THREADS)
    adamw_first_not_finite(const AdamWUpdate *updates, const Part *parts, uint32_t *first) {
    find_not_finite(updates, parts, first);
}

// The running means of the gradient and of its square, then the parameter. Nothing changes if `first` names an update.
extern "C" __global__ void __launch_bounds__(THREADS)
    adamw_step(const AdamWUpdate *updates, const Part *parts, const uint32_t *first, uint32_t count) {
    if (*first < count) return;
    Part part = parts[blockIdx.x];
    AdamWUpdate update = updates[part.update];
    uint64_t end = end_of(part, update);
    for (uint64_t i = part.start + threadIdx.x; i < end; i += blockDim.x) {
        float gradient = update.gradient[i];
        float mean = update.mean_kept * update.mean[i] + update.mean_new * gradient;
        float square = update.square_kept * update.square[i] + update.square_new * (gradient * gradient);
        update.mean[i] = mean;
        update.square[i] = square;
        float step = mean / (sqrtf(square) / update.root + update.epsilon);
        float parameter = update.kept * update.parameter[i] - update.step_size * step;
        update.parameter[i] = parameter;
        if (update.rounded) update.rounded[i] = narrow<bf16>(parameter);
    }
}
