// Convolutions of cuDNN, one element after the other.

#include "convolutions.hpp"

#include <algorithm>
#include <cstdio>
#include <vector>

namespace emulator::convolutions {

bool type_of(int code, Type &type) {
    switch (code) {
    case 0: return type = Type::f32, true;
    case 1: return type = Type::f64, true;
    case 9: return type = Type::bf16, true;
    default: return false;
    }
}

int refuse(int status, const char *why) {
    fprintf(stderr, "gpu emulator: cuDNN refuses: %s\n", why);
    return status;
}

int extent(int in, int pad, int filter, int stride, int dilation) { return (in + 2 * pad - dilation * (filter - 1) - 1) / stride + 1; }

int check_shapes(const Tensor &x, const Filter &w, const Convolution &convolution, const Tensor &y) {
    if (x.type != w.type || x.type != y.type) return refuse(bad_param, "tensors of different types");
    if (convolution.compute != (x.type == Type::f64 ? Type::f64 : Type::f32))
        return refuse(not_supported, "a type of arithmetic other than f32 (f64 for f64)");
    if (convolution.groups < 1 || w.k % convolution.groups) return refuse(bad_param, "output channels do not divide into groups");
    if (x.c != w.c * convolution.groups) return refuse(bad_param, "channels of input and filter differ");
    if (y.n != x.n || y.c != w.k) return refuse(bad_param, "images or channels of the output do not fit");
    if (y.h != extent(x.h, convolution.pad_h, w.h, convolution.stride_h, convolution.dilation_h) ||
        y.w != extent(x.w, convolution.pad_w, w.w, convolution.stride_w, convolution.dilation_w))
        return refuse(bad_param, "the output's extent does not fit");
    return success;
}

namespace {

// Values in the precision of the arithmetic, images as n h w c.
float seen(float value, bool tf32) { return tf32 ? rounded_to_tf32(value) : value; }

std::vector<float> packed(const void *data, const Tensor &tensor, bool tf32) {
    std::vector<float> values((size_t)tensor.n * tensor.c * tensor.h * tensor.w);
    parallel_for((size_t)tensor.n * tensor.h, [&](size_t row) {
        int image = row / tensor.h, y = row % tensor.h;
        float *to = &values[row * tensor.w * tensor.c];
        for (int x = 0; x < tensor.w; ++x)
            for (int c = 0; c < tensor.c; ++c) *to++ = seen(load<float>(data, tensor.type, tensor.at(image, c, y, x)), tf32);
    });
    return values;
}

// For every position of the filter [channel of one side][channel of the other].
std::vector<float> packed(const void *data, const Filter &filter, bool turned, bool inputs_first, bool tf32) {
    std::vector<float> values(filter.count());
    float *to = values.data();
    for (int y = 0; y < filter.h; ++y)
        for (int x = 0; x < filter.w; ++x)
            for (int first = 0; first < (inputs_first ? filter.c : filter.k); ++first)
                for (int second = 0; second < (inputs_first ? filter.k : filter.c); ++second) {
                    int k = inputs_first ? second : first, c = inputs_first ? first : second;
                    *to++ = seen(load<float>(data, filter.type,
                                             filter.at(k, c, turned ? filter.h - 1 - y : y, turned ? filter.w - 1 - x : x)),
                                 tf32);
                }
    return values;
}

void blend(void *data, Type type, size_t index, float alpha, float value, float beta) {
    value *= alpha;
    // Without beta the old value is not read: it may be NaN.
    if (beta != 0) value += beta * load<float>(data, type, index);
    store(data, type, index, value);
}

} // namespace

void convolve(const void *x_data, const Tensor &x, const void *w_data, const Filter &w, const Convolution &convolution, void *y_data,
              const Tensor &y, float alpha, float beta, Bias bias) {
    bool tf32 = x.type == Type::f32 && convolution.math != fma_math;
    auto input = packed(x_data, x, tf32);
    auto filter = packed(w_data, w, convolution.turned, true, tf32);
    int out_of_group = w.k / convolution.groups;
    parallel_for((size_t)y.n * y.h, [&](size_t row) {
        int image = row / y.h, out_y = row % y.h;
        std::vector<float> sums(y.c);
        for (int out_x = 0; out_x < y.w; ++out_x) {
            std::fill(sums.begin(), sums.end(), 0.0f);
            for (int place = 0; place < w.h * w.w; ++place) {
                int in_y = out_y * convolution.stride_h - convolution.pad_h + place / w.w * convolution.dilation_h;
                int in_x = out_x * convolution.stride_w - convolution.pad_w + place % w.w * convolution.dilation_w;
                if (in_y < 0 || in_y >= x.h || in_x < 0 || in_x >= x.w) continue;
                const float *pixel = &input[(((size_t)image * x.h + in_y) * x.w + in_x) * x.c];
                for (int c = 0; c < x.c; ++c) {
                    int start = c / w.c * out_of_group;
                    const float *weights = &filter[((size_t)place * w.c + c % w.c) * w.k];
                    float value = pixel[c];
                    for (int k = start; k < start + out_of_group; ++k) sums[k] += value * weights[k];
                }
            }
            for (int k = 0; k < y.c; ++k) {
                size_t at = y.at(image, k, out_y, out_x);
                if (bias.data)
                    store(y_data, y.type, at, std::max(alpha * sums[k] + load<float>(bias.data, bias.type, k), 0.0f));
                else
                    blend(y_data, y.type, at, alpha, sums[k], beta);
            }
        }
    });
}

void convolve_backward_data(const void *w_data, const Filter &w, const void *dy_data, const Tensor &dy, const Convolution &convolution,
                            void *dx_data, const Tensor &dx, float alpha, float beta) {
    bool tf32 = dx.type == Type::f32 && convolution.math != fma_math;
    auto gradient = packed(dy_data, dy, tf32);
    auto filter = packed(w_data, w, convolution.turned, false, tf32);
    int out_of_group = w.k / convolution.groups;
    parallel_for((size_t)dx.n * dx.h, [&](size_t row) {
        int image = row / dx.h, in_y = row % dx.h;
        std::vector<float> sums(dx.c);
        for (int in_x = 0; in_x < dx.w; ++in_x) {
            std::fill(sums.begin(), sums.end(), 0.0f);
            for (int place = 0; place < w.h * w.w; ++place) {
                int y = in_y + convolution.pad_h - place / w.w * convolution.dilation_h;
                int x = in_x + convolution.pad_w - place % w.w * convolution.dilation_w;
                if (y < 0 || x < 0 || y % convolution.stride_h || x % convolution.stride_w) continue;
                y /= convolution.stride_h;
                x /= convolution.stride_w;
                if (y >= dy.h || x >= dy.w) continue;
                const float *pixel = &gradient[(((size_t)image * dy.h + y) * dy.w + x) * dy.c];
                for (int k = 0; k < dy.c; ++k) {
                    const float *weights = &filter[((size_t)place * w.k + k) * w.c];
                    float *group = &sums[k / out_of_group * w.c];
                    float value = pixel[k];
                    for (int c = 0; c < w.c; ++c) group[c] += value * weights[c];
                }
            }
            for (int c = 0; c < dx.c; ++c) blend(dx_data, dx.type, dx.at(image, c, in_y, in_x), alpha, sums[c], beta);
        }
    });
}

void convolve_backward_filter(const void *x_data, const Tensor &x, const void *dy_data, const Tensor &dy, const Convolution &convolution,
                              void *dw_data, const Filter &dw, float alpha, float beta) {
    bool tf32 = x.type == Type::f32 && convolution.math != fma_math;
    auto input = packed(x_data, x, tf32);
    auto gradient = packed(dy_data, dy, tf32);
    int out_of_group = dw.k / convolution.groups;
    // Channels are split into groups, which gives all processors work if the filter is 1x1.
    constexpr int stretch = 16;
    int stretches = (dw.c + stretch - 1) / stretch;
    parallel_for((size_t)dw.h * dw.w * stretches, [&](size_t which) {
        int place = which / stretches, first = which % stretches * stretch, count = std::min(stretch, dw.c - first);
        std::vector<float> sums((size_t)count * dw.k);
        for (int image = 0; image < x.n; ++image)
            for (int out_y = 0; out_y < dy.h; ++out_y)
                for (int out_x = 0; out_x < dy.w; ++out_x) {
                    int in_y = out_y * convolution.stride_h - convolution.pad_h + place / dw.w * convolution.dilation_h;
                    int in_x = out_x * convolution.stride_w - convolution.pad_w + place % dw.w * convolution.dilation_w;
                    if (in_y < 0 || in_y >= x.h || in_x < 0 || in_x >= x.w) continue;
                    const float *pixel = &input[(((size_t)image * x.h + in_y) * x.w + in_x) * x.c];
                    const float *slope = &gradient[(((size_t)image * dy.h + out_y) * dy.w + out_x) * dy.c];
                    for (int group = 0; group < convolution.groups; ++group)
                        for (int c = 0; c < count; ++c) {
                            float value = pixel[group * dw.c + first + c];
                            float *to = &sums[(size_t)c * dw.k];
                            for (int k = group * out_of_group; k < (group + 1) * out_of_group; ++k) to[k] += value * slope[k];
                        }
                }
        int y = place / dw.w, x = place % dw.w;
        if (convolution.turned) y = dw.h - 1 - y, x = dw.w - 1 - x;
        for (int c = 0; c < count; ++c)
            for (int k = 0; k < dw.k; ++k) blend(dw_data, dw.type, dw.at(k, first + c, y, x), alpha, sums[(size_t)c * dw.k + k], beta);
    });
}

} // namespace emulator::convolutions
