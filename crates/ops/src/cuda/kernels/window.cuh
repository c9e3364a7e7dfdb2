// Where the kernel of a convolution goes over an image (height, width, channels); the same layout as on the host.
#pragma once

#include "common.cuh"

struct Window {
    uint32_t height, width, channels, out_height, out_width, kernel_height, kernel_width, stride, padding, dilation;
};
