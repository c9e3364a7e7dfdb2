// Convolutions of cuDNN: what both of its interfaces share.
#pragma once

#include "emulator.hpp"
#include "numbers.hpp"

namespace emulator::convolutions {

enum Status : int { success = 0, bad_param = 2000, size_insufficient = 2006, not_supported = 3000, execution_failed = 5000 };
enum Layout : int { nchw = 0, nhwc = 1 };
enum : int { default_math = 0, fma_math = 3 };
enum class Pass { forward, backward_data, backward_filter };

struct Tensor {
    Type type{};
    int n = 0, c = 0, h = 0, w = 0;
    long long stride_n = 0, stride_c = 0, stride_h = 0, stride_w = 0;

    bool is_nhwc() const { return stride_c == 1 && stride_w == c && stride_h == (long long)w * c && stride_n == (long long)h * w * c; }
    bool is_nchw() const { return stride_w == 1 && stride_h == w && stride_c == (long long)h * w && stride_n == (long long)c * h * w; }
    size_t reach() const { return (n - 1) * stride_n + (c - 1) * stride_c + (h - 1) * stride_h + (w - 1) * stride_w + 1; }
    size_t at(int image, int channel, int y, int x) const { return image * stride_n + channel * stride_c + y * stride_h + x * stride_w; }
};

struct Filter {
    Type type{};
    Layout layout{};
    // `c` is the input channels of one group.
    int k = 0, c = 0, h = 0, w = 0;

    size_t count() const { return (size_t)k * c * h * w; }
    size_t at(int out, int in, int y, int x) const {
        return layout == nhwc ? (((size_t)out * h + y) * w + x) * c + in : (((size_t)out * c + in) * h + y) * w + x;
    }
};

struct Convolution {
    int pad_h = 0, pad_w = 0, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
    // A true convolution rotates filters by 180 degrees.
    bool turned = false;
    Type compute{};
    int groups = 1;
    int math = 0;
};

struct Handle {
    void *stream = nullptr;
};

// Whether cuDNN has a type of this number.
bool type_of(int code, Type &type);
// Says why a call fails. Returns the status.
int refuse(int status, const char *why);
// The output's extent.
int extent(int in, int pad, int filter, int stride, int dilation);
// Whether the tensors fit each other.
int check_shapes(const Tensor &x, const Filter &w, const Convolution &convolution, const Tensor &y);

// One value of y's type for each of its channels, which is added before ReLU.
struct Bias {
    const void *data = nullptr;
    Type type{};
};

// The three products, alpha times each plus beta times what is there. The first may have a bias and ReLU.
void convolve(const void *x_data, const Tensor &x, const void *w_data, const Filter &w, const Convolution &convolution, void *y_data,
              const Tensor &y, float alpha, float beta, Bias bias = {});
void convolve_backward_data(const void *w_data, const Filter &w, const void *dy_data, const Tensor &dy, const Convolution &convolution,
                            void *dx_data, const Tensor &dx, float alpha, float beta);
void convolve_backward_filter(const void *x_data, const Tensor &x, const void *dy_data, const Tensor &dy, const Convolution &convolution,
                              void *dw_data, const Filter &dw, float alpha, float beta);

} // namespace emulator::convolutions
