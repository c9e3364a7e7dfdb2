// The patches of an image that a convolution multiplies, and their gradient, for products that cuDNN cannot compute.
#include "window.cuh"

// (H, W, C) to (pixels of the output, places of the kernel, C), one element per thread; zero outside the image.
extern "C" __global__ void __launch_bounds__(THREADS)
    patches_f32(const float *image, Window w, uint64_t count, float *patches) {
    uint64_t i = index_of_thread();
    if (i >= count) return;
    uint32_t channel = i % w.channels;
    uint32_t place = i / w.channels % (w.kernel_height * w.kernel_width);
    uint64_t pixel = i / w.channels / (w.kernel_height * w.kernel_width);
    int64_t y = (int64_t)(pixel / w.out_width * w.stride + place / w.kernel_width * w.dilation) - w.padding;
    int64_t x = (int64_t)(pixel % w.out_width * w.stride + place % w.kernel_width * w.dilation) - w.padding;
    bool inside = y >= 0 && y < w.height && x >= 0 && x < w.width;
    patches[i] = inside ? image[((uint64_t)y * w.width + x) * w.channels + channel] : 0.0f;
}

// The transpose: one element of the image per thread, which adds up the places where it was taken.
extern "C" __global__ void __launch_bounds__(THREADS)
    patches_gradient_f32(const float *patches, Window w, uint64_t count, float *image) {
    uint64_t i = index_of_thread();
    if (i >= count) return;
    uint32_t channel = i % w.channels;
    uint64_t pixel = i / w.channels;
    float sum = 0.0f;
    for (uint32_t row = 0; row < w.kernel_height; row++) {
        int64_t y = (int64_t)(pixel / w.width + w.padding) - (int64_t)row * w.dilation;
        if (y < 0 || y % w.stride != 0 || y / w.stride >= w.out_height) continue;
        for (uint32_t column = 0; column < w.kernel_width; column++) {
            int64_t x = (int64_t)(pixel % w.width + w.padding) - (int64_t)column * w.dilation;
            if (x < 0 || x % w.stride != 0 || x / w.stride >= w.out_width) continue;
            uint64_t from = (uint64_t)(y / w.stride) * w.out_width + x / w.stride;
            uint64_t place = row * w.kernel_width + column;
            sum += patches[(from * w.kernel_height * w.kernel_width + place) * w.channels + channel];
        }
    }
    image[i] = sum;
}
