// Upsampling, objective and gradient of the labelled pixels. Full-size logits are never stored.
//
// The pixels between the same four pixels of the small map are a cell. Each block computes one cell: its sum and, for
// the gradient, its contribution to each of its four corners. Another launch adds up the corners, without atomic
// additions.
#include "interpolation.cuh"

#define IGNORE_LABEL 255

enum Objective : uint32_t {
    CROSS_ENTROPY,
    GAIN,
    SEG_PGD,
    COS_PGD,
    MASKED_CROSS_ENTROPY,
    BALANCED_MASKED_CROSS_ENTROPY,
    JENSEN_SHANNON,
    TSALLIS,
};

// Minus the logarithm of the label's softmax. `z` are the logits of a pixel, `stride` apart; the slope takes their place.
__device__ inline float cross_entropy(float *z, uint32_t stride, uint32_t classes, uint32_t label) {
    float largest = -INFINITY, own = z[label * stride], sum = 0.0f;
    for (uint32_t k = 0; k < classes; k++) largest = fmaxf(largest, z[k * stride]);
    for (uint32_t k = 0; k < classes; k++) {
        float power = expf(z[k * stride] - largest);
        z[k * stride] = power;
        sum += power;
    }
    for (uint32_t k = 0; k < classes; k++) z[k * stride] = z[k * stride] / sum - (k == label ? 1.0f : 0.0f);
    return logf(sum) + largest - own;
}

// The first largest logit.
__device__ inline uint32_t argmax(const float *z, uint32_t stride, uint32_t classes) {
    uint32_t best = 0;
    for (uint32_t k = 1; k < classes; k++)
        if (z[k * stride] > z[best * stride]) best = k;
    return best;
}

__device__ inline float scaled(float weight, float value, float *slope, uint32_t stride, uint32_t classes) {
    for (uint32_t k = 0; k < classes; k++) slope[k * stride] *= weight;
    return weight * value;
}

// The label's logit minus the largest other, the first of equals.
__device__ inline float gain(float *z, uint32_t stride, uint32_t classes, uint32_t label) {
    uint32_t best = classes;
    for (uint32_t k = 0; k < classes; k++)
        if (k != label && (best == classes || !(z[best * stride] >= z[k * stride]))) best = k;
    float value = z[label * stride] - (best < classes ? z[best * stride] : 0.0f);
    for (uint32_t k = 0; k < classes; k++) z[k * stride] = k == label ? 1.0f : k == best ? -1.0f : 0.0f;
    return value;
}

__device__ inline float evaluate(uint32_t objective, float parameter, float *z, uint32_t stride,
                                 uint32_t classes, uint32_t label) {
    if (objective == GAIN) return gain(z, stride, classes, label);
    bool asks = objective == SEG_PGD || objective == MASKED_CROSS_ENTROPY ||
                objective == BALANCED_MASKED_CROSS_ENTROPY;
    bool right = asks && argmax(z, stride, classes) == label;
    float value = cross_entropy(z, stride, classes, label);
    if (objective == SEG_PGD) return scaled(right ? 1.0f - parameter : parameter, value, z, stride, classes);
    if (asks) return right ? value : scaled(0.0f, 0.0f, z, stride, classes);
    if (objective == COS_PGD) {
        // The slope is softmax - one-hot, which gives the softmax.
        float own = z[label * stride] + 1.0f, others = 0.0f;
        for (uint32_t k = 0; k < classes; k++)
            if (k != label) others = fmaf(z[k * stride], z[k * stride], others);
        return scaled(own / sqrtf(others + own * own), value, z, stride, classes);
    }
    if (objective == JENSEN_SHANNON) {
        float own = expf(-value);
        scaled(0.5f * own * (log1pf(own) + value), 0.0f, z, stride, classes);
        return 0.69314718f - 0.5f * (own * value + (1.0f + own) * log1pf(own));
    }
    if (objective == TSALLIS) {
        float order = 1.0f - parameter;
        scaled(expf(-order * value), 0.0f, z, stride, classes);
        return order == 0.0f ? value : -expm1f(-order * value) / order;
    }
    return value;
}

// Labelled pixels of each class, (images, 256), for which all are zero before. A block has a part of an image.
extern "C" __global__ void __launch_bounds__(THREADS)
    count_labels(const uint8_t *label, uint64_t size, uint32_t *counts) {
    __shared__ uint32_t own[256];
    own[threadIdx.x] = 0;
    __syncthreads();
    const uint8_t *image = label + blockIdx.y * size;
    for (uint64_t i = index_of_thread(); i < size; i += (uint64_t)gridDim.x * blockDim.x) atomicAdd(&own[image[i]], 1u);
    __syncthreads();
    if (own[threadIdx.x] > 0) atomicAdd(&counts[blockIdx.y * 256 + threadIdx.x], own[threadIdx.x]);
}

// Cells: for each image, row and column of the small map, the sum of the objective over the pixels of the cell, how many
// they are, and (images, h, w, 4, classes) what it gives to the corners, top left, top right, bottom left, bottom right,
// if `corners` is given. A label that is not a class makes the sum NaN. `counts` are those of count_labels, read for the
// balanced objective alone. A block has WIDTH threads and room for CLASSES classes.
template <int CLASSES, int WIDTH>
__device__ void objective_cells(const float *logits, const uint8_t *label, Resize r, uint32_t objective, float parameter,
                                const uint32_t *counts, double *sums, uint32_t *labelled, float *corners,
                                uint32_t with_gradient) {
    // One more than there are threads, or what the threads of a warp read of several classes would be in one bank.
    const uint32_t stride = WIDTH + 1;
    __shared__ float slopes[CLASSES * (WIDTH + 1)], gathered[4 * CLASSES], weights[4 * WIDTH];
    __shared__ double pile[WIDTH];
    __shared__ uint32_t span[4];
    uint32_t classes = r.channels;
    uint32_t i = blockIdx.y, j = blockIdx.x, image = blockIdx.z;
    if (threadIdx.x < 2) span[threadIdx.x] = first_target(i + threadIdx.x, r.source_height, r.height, r.aligned);
    else if (threadIdx.x < 4) span[threadIdx.x] = first_target(j + threadIdx.x - 2, r.source_width, r.width, r.aligned);
    for (uint32_t k = threadIdx.x; k < 4 * classes; k += blockDim.x) gathered[k] = 0.0f;
    __syncthreads();
    uint32_t width = span[3] - span[2], pixels = (span[1] - span[0]) * width;
    uint32_t below = i + 1 < r.source_height ? i + 1 : i, right = j + 1 < r.source_width ? j + 1 : j;
    const float *small = logits + (uint64_t)image * r.source_height * r.source_width * classes;
    const float *at00 = small + ((uint64_t)i * r.source_width + j) * classes;
    const float *at01 = small + ((uint64_t)i * r.source_width + right) * classes;
    const float *at10 = small + ((uint64_t)below * r.source_width + j) * classes;
    const float *at11 = small + ((uint64_t)below * r.source_width + right) * classes;
    double sum = 0.0;
    uint32_t seen = 0;
    for (uint32_t start = 0; start < pixels; start += blockDim.x) {
        uint32_t pixel = start + threadIdx.x;
        float *slope = slopes + threadIdx.x;
        bool counts_here = false;
        float down = 0.0f, across = 0.0f;
        if (pixel < pixels) {
            uint32_t y = span[0] + pixel / width, x = span[2] + pixel % width;
            uint32_t truth = label[((uint64_t)image * r.height + y) * r.width + x];
            if (truth != IGNORE_LABEL && truth >= classes) sum += NAN;
            counts_here = truth < classes && truth != IGNORE_LABEL;
            if (counts_here) {
                down = between(y, r.source_height, r.height, r.aligned).weight;
                across = between(x, r.source_width, r.width, r.aligned).weight;
                for (uint32_t k = 0; k < classes; k++)
                    slope[k * stride] = mix(mix(at00[k], at10[k], down), mix(at01[k], at11[k], down), across);
                float value = evaluate(objective, parameter, slope, stride, classes, truth);
                if (objective == BALANCED_MASKED_CROSS_ENTROPY) {
                    const uint32_t *of_class = counts + image * 256;
                    double all = 0.0;
                    uint32_t present = 0;
                    for (uint32_t k = 0; k < classes && k != IGNORE_LABEL; k++) {
                        all += of_class[k];
                        present += of_class[k] > 0;
                    }
                    // A set of images may lack a class.
                    double share = (double)present * (double)of_class[truth];
                    float weight = share > 0.0 ? (float)(all / share) : 0.0f;
                    value = scaled(weight, value, slope, stride, classes);
                }
                sum += value;
                seen++;
            }
        }
        if (!with_gradient) continue;
        if (!counts_here)
            for (uint32_t k = 0; k < classes; k++) slope[k * stride] = 0.0f;
        weights[threadIdx.x] = (1.0f - down) * (1.0f - across);
        weights[blockDim.x + threadIdx.x] = (1.0f - down) * across;
        weights[2 * blockDim.x + threadIdx.x] = down * (1.0f - across);
        weights[3 * blockDim.x + threadIdx.x] = down * across;
        __syncthreads();
        for (uint32_t pair = threadIdx.x; pair < 4 * classes; pair += blockDim.x) {
            const float *of_corner = weights + pair / classes * blockDim.x, *of_class = slopes + pair % classes * stride;
            float total = 0.0f;
            for (uint32_t t = 0; t < blockDim.x; t++) total = fmaf(of_corner[t], of_class[t], total);
            gathered[pair] += total;
        }
        __syncthreads();
    }
    uint64_t cell = ((uint64_t)image * r.source_height + i) * r.source_width + j;
    sum = block_sum(sum, pile);
    double all = block_sum((double)seen, pile);
    if (threadIdx.x == 0) {
        sums[cell] = sum;
        labelled[cell] = (uint32_t)all;
    }
    if (with_gradient)
        for (uint32_t pair = threadIdx.x; pair < 4 * classes; pair += blockDim.x)
            corners[cell * 4 * classes + pair] = gathered[pair];
}
#define CELLS(CLASSES, WIDTH)                                                                                          \
    extern "C" __global__ void __launch_bounds__(WIDTH) objective_cells_##CLASSES(                                     \
        const float *logits, const uint8_t *label, Resize r, uint32_t objective, float parameter,                      \
        const uint32_t *counts, double *sums, uint32_t *labelled, float *corners, uint32_t with_gradient) {            \
        objective_cells<CLASSES, WIDTH>(logits, label, r, objective, parameter, counts, sums, labelled, corners,       \
                                        with_gradient);                                                                \
    }
CELLS(32, 64)
CELLS(64, 64)
CELLS(128, 64)
CELLS(256, 32)

// Each image's value, and what one pixel's gradient counts in it: one over its labelled pixels, or those of the whole
// batch. One block. `totals` has room for 2 x images.
extern "C" __global__ void __launch_bounds__(THREADS)
    finish_objective(const double *sums, const uint32_t *labelled, uint32_t images, uint32_t cells,
                     uint32_t whole_batch, double *totals, float *values, float *shares) {
    __shared__ double pile[THREADS];
    double batch = 0.0;
    for (uint32_t image = 0; image < images; image++) {
        double sum = 0.0, seen = 0.0;
        for (uint32_t cell = threadIdx.x; cell < cells; cell += blockDim.x) {
            sum += sums[(uint64_t)image * cells + cell];
            seen += labelled[(uint64_t)image * cells + cell];
        }
        sum = block_sum(sum, pile);
        seen = block_sum(seen, pile);
        batch += seen;
        if (threadIdx.x == 0) {
            totals[image] = sum;
            totals[images + image] = seen;
        }
    }
    __syncthreads();
    for (uint32_t image = threadIdx.x; image < images; image += blockDim.x) {
        double count = whole_batch ? batch : totals[images + image];
        if (count < 1.0) count = 1.0;
        values[image] = (float)(totals[image] / count);
        shares[image] = (float)(1.0 / count);
    }
}

// The gradient by the small logits, one element per thread, from the corners of the cells around it.
extern "C" __global__ void __launch_bounds__(THREADS)
    gather_corners(const float *corners, const float *shares, Resize r, uint64_t count, float *out) {
    uint64_t index = index_of_thread();
    if (index >= count) return;
    uint32_t classes = r.channels, k = index % classes;
    uint64_t pixel = index / classes;
    uint32_t column = pixel % r.source_width, row = pixel / r.source_width % r.source_height;
    const float *own = corners + pixel * 4 * classes + k;
    float sum = own[0];
    // The last row and column are their own second; what their cells give to it has a weight of zero.
    if (column > 0) sum += own[classes - 4 * (int64_t)classes];
    if (row > 0) sum += own[2 * classes - 4 * (int64_t)classes * r.source_width];
    if (row > 0 && column > 0) sum += own[3 * classes - 4 * (int64_t)classes * (r.source_width + 1)];
    out[index] = sum * shares[pixel / r.source_width / r.source_height];
}

// The class of the largest upsampled logit, the first of equals, one pixel per thread.
extern "C" __global__ void __launch_bounds__(THREADS)
    predict_f32(const float *logits, Resize r, uint64_t count, uint8_t *out) {
    uint64_t i = index_of_thread();
    if (i >= count) return;
    Between row = between(i / r.width % r.height, r.source_height, r.height, r.aligned);
    Between column = between(i % r.width, r.source_width, r.width, r.aligned);
    const float *image = logits + i / r.width / r.height * r.source_height * r.source_width * r.channels;
    uint64_t top = (uint64_t)row.first * r.source_width, bottom = (uint64_t)row.second * r.source_width;
    float largest = 0.0f;
    uint32_t best = 0;
    for (uint32_t k = 0; k < r.channels; k++) {
        const float *of_class = image + k;
        float left = mix(of_class[(top + column.first) * r.channels], of_class[(bottom + column.first) * r.channels],
                         row.weight);
        float right = mix(of_class[(top + column.second) * r.channels],
                          of_class[(bottom + column.second) * r.channels], row.weight);
        float value = mix(left, right, column.weight);
        if (k == 0 || value > largest) {
            largest = value;
            best = k;
        }
    }
    out[i] = (uint8_t)best;
}
