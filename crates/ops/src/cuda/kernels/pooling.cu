// Maximum and adaptive average pooling.
#include "common.cuh"

// Sizes of a maximum pooling; the same layout as on the host.
struct MaxPool {
    uint32_t height, width, channels, out_height, out_width, kernel, stride, padding;
};

// The input rows (or columns) under output row `out`, from `start` up to `end`.
__device__ inline void window(const MaxPool &g, uint32_t out, uint32_t size, uint32_t &start, uint32_t &end) {
    uint32_t top = out * g.stride;
    start = top > g.padding ? top - g.padding : 0;
    end = top + g.kernel - g.padding < size ? top + g.kernel - g.padding : size;
}

// The output rows (or columns) whose windows reach input row `in`, from `start` up to `end`.
__device__ inline void windows_over(const MaxPool &g, uint32_t in, uint32_t size, uint32_t &start, uint32_t &end) {
    uint32_t reach = in + g.padding + 1;
    start = reach > g.kernel ? (reach - g.kernel + g.stride - 1) / g.stride : 0;
    uint32_t last = (in + g.padding) / g.stride + 1;
    end = last < size ? last : size;
}

// Largest value under each window; a NaN wins. A thread has V channels of an output pixel.
template <typename T, int V> __device__ void max_pool(const T *x, MaxPool g, uint64_t count, T *out) {
    uint64_t i = index_of_thread();
    if (i >= count) return;
    uint32_t packs = g.channels / V;
    uint32_t channel = i % packs * V;
    uint64_t pixel = i / packs;
    uint32_t column = pixel % g.out_width, row = pixel / g.out_width % g.out_height;
    uint64_t image = pixel / g.out_width / g.out_height;
    uint32_t top, bottom, left, right;
    window(g, row, g.height, top, bottom);
    window(g, column, g.width, left, right);
    float best[V];
    for (int c = 0; c < V; c++) best[c] = -INFINITY;
    for (uint32_t y = top; y < bottom; y++)
        for (uint32_t xx = left; xx < right; xx++) {
            Pack<T, V> values = read<T, V>(x + ((image * g.height + y) * g.width + xx) * g.channels + channel);
            for (int c = 0; c < V; c++) {
                float value = widen(values.at[c]);
                if (value > best[c] || value != value) best[c] = value;
            }
        }
    Pack<T, V> values;
    for (int c = 0; c < V; c++) values.at[c] = narrow<T>(best[c]);
    write<T, V>(out + pixel * g.channels + channel, values);
}
STAMP(max_pool, (const T *x, MaxPool g, uint64_t count, T *out), (x, g, count, out))

// Each output's gradient goes to the first largest input of its window. A thread has V channels of an input pixel and
// looks into every window that the pixel is in.
template <typename T, int V>
__device__ void max_pool_gradient(const T *x, const T *out, const T *gradient, MaxPool g, uint64_t count, T *result) {
    uint64_t i = index_of_thread();
    if (i >= count) return;
    uint32_t packs = g.channels / V;
    uint32_t channel = i % packs * V;
    uint64_t pixel = i / packs;
    uint32_t column = pixel % g.width, row = pixel / g.width % g.height;
    uint64_t image = pixel / g.width / g.height;
    Pack<T, V> own = read<T, V>(x + pixel * g.channels + channel);
    uint32_t first_row, end_row, first_column, end_column;
    windows_over(g, row, g.out_height, first_row, end_row);
    windows_over(g, column, g.out_width, first_column, end_column);
    float sum[V] = {};
    for (uint32_t oy = first_row; oy < end_row; oy++)
        for (uint32_t ox = first_column; ox < end_column; ox++) {
            uint64_t at = ((image * g.out_height + oy) * g.out_width + ox) * g.channels + channel;
            Pack<T, V> largest = read<T, V>(out + at), gradients = read<T, V>(gradient + at);
            bool found[V];
            for (int c = 0; c < V; c++) {
                float value = widen(own.at[c]);
                found[c] = value == widen(largest.at[c]) || value != value;
            }
            uint32_t top, bottom, left, right;
            window(g, oy, g.height, top, bottom);
            window(g, ox, g.width, left, right);
            // What stands in front of the pixel in the window must be smaller.
            for (uint32_t y = top; y <= row; y++)
                for (uint32_t xx = left; xx < (y < row ? right : column); xx++) {
                    Pack<T, V> others =
                        read<T, V>(x + ((image * g.height + y) * g.width + xx) * g.channels + channel);
                    for (int c = 0; c < V; c++) {
                        float other = widen(others.at[c]);
                        if (other == widen(largest.at[c]) || other != other) found[c] = false;
                    }
                }
            for (int c = 0; c < V; c++)
                if (found[c]) sum[c] += widen(gradients.at[c]);
        }
    Pack<T, V> values;
    for (int c = 0; c < V; c++) values.at[c] = narrow<T>(sum[c]);
    write<T, V>(result + pixel * g.channels + channel, values);
}
STAMP(max_pool_gradient, (const T *x, const T *out, const T *gradient, MaxPool g, uint64_t count, T *result),
      (x, out, gradient, g, count, result))

#define LEVELS 8

// The levels of a pyramid; the same layout as on the host.
struct Levels {
    uint32_t height, width, channels, regions, count;
    uint32_t bins[LEVELS];
};

// The input rows (or columns) of a bin.
__device__ inline uint32_t bin_start(uint32_t bin, uint32_t bins, uint32_t size) { return bin * size / bins; }
__device__ inline uint32_t bin_end(uint32_t bin, uint32_t bins, uint32_t size) {
    return ((bin + 1) * size + bins - 1) / bins;
}

// Means over the regions of all levels, (images, regions, channels). A block has a region (blockIdx.y) of an image
// (blockIdx.z) and some channels; its rows of threads share the pixels.
template <typename T, int V> __device__ void adaptive_average(const T *x, Levels g, T *out) {
    __shared__ float pile[THREADS * V];
    uint32_t level = 0, bin = blockIdx.y;
    while (bin >= g.bins[level] * g.bins[level]) {
        bin -= g.bins[level] * g.bins[level];
        level++;
    }
    uint32_t bins = g.bins[level];
    uint32_t top = bin_start(bin / bins, bins, g.height), bottom = bin_end(bin / bins, bins, g.height);
    uint32_t left = bin_start(bin % bins, bins, g.width), right = bin_end(bin % bins, bins, g.width);
    uint32_t width = right - left, pixels = (bottom - top) * width;
    uint32_t channel = (blockIdx.x * blockDim.x + threadIdx.x) * V;
    float total[V] = {};
    if (channel < g.channels) {
        double sums[V] = {};
        // A few values are added in f32, then all of those in f64.
        for (uint32_t start = threadIdx.y; start < pixels; start += 16 * blockDim.y) {
            float few[V] = {};
            for (uint32_t pixel = start; pixel < pixels && pixel < start + 16 * blockDim.y; pixel += blockDim.y) {
                uint64_t row = (uint64_t)blockIdx.z * g.height + top + pixel / width;
                uint64_t at = row * g.width + left + pixel % width;
                Pack<T, V> values = read<T, V>(x + at * g.channels + channel);
                for (int c = 0; c < V; c++) few[c] += widen(values.at[c]);
            }
            for (int c = 0; c < V; c++) sums[c] += few[c];
        }
        for (int c = 0; c < V; c++) total[c] = (float)sums[c];
    }
    fold_rows<V>(total, pile);
    if (channel < g.channels && threadIdx.y == 0) {
        Pack<T, V> values;
        for (int c = 0; c < V; c++) values.at[c] = narrow<T>(total[c] / (float)pixels);
        write<T, V>(out + ((uint64_t)blockIdx.z * g.regions + blockIdx.y) * g.channels + channel, values);
    }
}
STAMP(adaptive_average, (const T *x, Levels g, T *out), (x, g, out))

// Every input pixel receives the gradient of each region that it is in, over that region's number of pixels. A thread
// has V channels of an input pixel.
template <typename T, int V>
__device__ void adaptive_average_gradient(const T *gradient, Levels g, uint64_t count, T *out) {
    uint64_t i = index_of_thread();
    if (i >= count) return;
    uint32_t packs = g.channels / V;
    uint32_t channel = i % packs * V;
    uint64_t pixel = i / packs;
    uint32_t column = pixel % g.width, row = pixel / g.width % g.height;
    uint64_t region = pixel / g.width / g.height * g.regions;
    float sum[V] = {};
    for (uint32_t level = 0; level < g.count; level++) {
        uint32_t bins = g.bins[level];
        for (uint32_t y = 0; y < bins; y++) {
            uint32_t top = bin_start(y, bins, g.height), bottom = bin_end(y, bins, g.height);
            if (row < top || row >= bottom) continue;
            for (uint32_t x = 0; x < bins; x++) {
                uint32_t left = bin_start(x, bins, g.width), right = bin_end(x, bins, g.width);
                if (column < left || column >= right) continue;
                float share = 1.0f / (float)((bottom - top) * (right - left));
                Pack<T, V> values = read<T, V>(gradient + (region + y * bins + x) * g.channels + channel);
                for (int c = 0; c < V; c++) sum[c] = fmaf(widen(values.at[c]), share, sum[c]);
            }
        }
        region += bins * bins;
    }
    Pack<T, V> values;
    for (int c = 0; c < V; c++) values.at[c] = narrow<T>(sum[c]);
    write<T, V>(out + pixel * g.channels + channel, values);
}
STAMP(adaptive_average_gradient, (const T *gradient, Levels g, uint64_t count, T *out), (gradient, g, count, out))
