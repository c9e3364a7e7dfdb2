// cuDNN: convolutions through the interface of versions 7 and 8, both ways.

#include "convolutions.hpp"

#include <algorithm>
#include <cstdio>
#include <vector>

using namespace emulator;
using namespace emulator::convolutions;

namespace {

struct Performance {
    int algorithm, status;
    float time;
    size_t memory;
    int determinism, math;
    int reserved[3];
};

// Whether cuDNN has an algorithm for these layouts and shapes: channels last only as implicit products,
// transforms for small dense filters only.
int support(Pass pass, int algorithm, const Tensor &x, const Filter &w, const Convolution &convolution, const Tensor &y) {
    if (w.layout == nhwc) {
        if (!x.is_nhwc() || !y.is_nhwc() || algorithm > 1 || algorithm < 0 || x.type == Type::f64) return not_supported;
        return success;
    }
    // A filter with channels first needs the others so, too; a view may be strided.
    bool channels_last = (x.is_nhwc() && !x.is_nchw()) || (y.is_nhwc() && !y.is_nchw());
    if (channels_last) return not_supported;
    bool dense = convolution.dilation_h == 1 && convolution.dilation_w == 1;
    bool small = w.h == 3 && w.w == 3 && convolution.stride_h == 1 && convolution.stride_w == 1 && dense;
    if (pass == Pass::forward) {
        if (algorithm == 0 || algorithm == 1) return success;
        if (algorithm == 2) return dense && x.type != Type::bf16 ? success : not_supported;
        if (algorithm == 6) return small && x.type == Type::f32 ? success : not_supported;
        return not_supported;
    }
    if (algorithm == 0 || algorithm == 1) return success;
    if (algorithm == 4 && pass == Pass::backward_data) return small && x.type == Type::f32 ? success : not_supported;
    if (algorithm == 3 && pass == Pass::backward_filter) return x.type == Type::f32 ? success : not_supported;
    return not_supported;
}

// Some algorithms need none; the others an odd number.
size_t workspace(Pass, int algorithm, const Tensor &x, const Filter &w, const Convolution &, const Tensor &y) {
    if (algorithm == 0) return 0;
    return 1000 + 4 * (w.count() + y.c) + (size_t)algorithm * (x.w + y.w) + 3;
}

constexpr int algorithm_counts[] = {8, 6, 7};

// Whether this algorithm should fail when it is called.
bool fails(int algorithm, const Convolution &convolution) {
    if (fault("run:all") || fault("run:" + std::to_string(algorithm))) return true;
    return fault("math") && convolution.math != default_math;
}

// The checks of all three calls. Overwrites `given` like the algorithm would.
int prepare(Handle *handle, Pass pass, int algorithm, const Tensor &x, const void *x_data, const Filter &w, const void *w_data,
            const Convolution &convolution, const Tensor &y, const void *y_data, void *given, size_t given_bytes) {
    if (int status = check_shapes(x, w, convolution, y)) return status;
    if (int status = support(pass, algorithm, x, w, convolution, y)) return refuse(status, "this algorithm for these layouts and shapes");
    if (x.type == Type::f64) return refuse(not_supported, "f64 is not emulated");
    check_range(x_data, x.reach() * size_of(x.type), "cuDNN, x");
    check_range(w_data, w.count() * size_of(w.type), "cuDNN, w");
    check_range(y_data, y.reach() * size_of(y.type), "cuDNN, y");
    size_t needed = workspace(pass, algorithm, x, w, convolution, y);
    if (given_bytes < needed) return refuse(size_insufficient, "the workspace is too small");
    if (fails(algorithm, convolution)) return refuse(execution_failed, "as it was asked to");
    check_range(given, given_bytes, "cuDNN, workspace");
    if (needed) enqueue(stream_of(handle->stream), [=] { memset(given, 0xFF, needed); });
    static const char *names[] = {"forward", "backward data", "backward filter"};
    log(std::string("convolution ") + names[(int)pass] + " algorithm " + std::to_string(algorithm) + " " + std::to_string(x.n) + "x" +
        std::to_string(x.c) + "x" + std::to_string(x.h) + "x" + std::to_string(x.w) + " filter " + std::to_string(w.k) + "x" +
        std::to_string(w.c) + "x" + std::to_string(w.h) + "x" + std::to_string(w.w));
    return success;
}

// All algorithms, the usable ones first, as cuDNN ranks them.
int rank(Pass pass, const Tensor &x, const Filter &w, const Convolution &convolution, const Tensor &y, int requested, int *returned,
         Performance *results) {
    if (requested < 1) return bad_param;
    if (int status = check_shapes(x, w, convolution, y)) return status;
    if (fault("query")) return refuse(not_supported, "to name algorithms, as it was asked to");
    std::vector<Performance> all;
    for (int i = 0; i < algorithm_counts[(int)pass]; ++i) {
        // Algorithm 1 is usually the fastest.
        int algorithm = i == 0 ? 1 : i == 1 ? 0 : i;
        int status = support(pass, algorithm, x, w, convolution, y);
        bool deterministic = !fault("random") && (pass == Pass::forward || algorithm != 0);
        int math = fault("math") ? default_math : convolution.math;
        all.push_back({algorithm, status, status ? -1.0f : 0.1f * (i + 1),
                       status ? 0 : workspace(pass, algorithm, x, w, convolution, y), deterministic, math, {}});
    }
    std::stable_partition(all.begin(), all.end(), [](auto &result) { return result.status == success; });
    *returned = std::min<int>(requested, all.size());
    std::copy_n(all.begin(), *returned, results);
    return success;
}

int set_tensor(Tensor *tensor, int type, int n, int c, int h, int w, int stride_n, int stride_c, int stride_h, int stride_w) {
    if (n < 1 || c < 1 || h < 1 || w < 1) return refuse(bad_param, "an extent below 1");
    Type known;
    if (!type_of(type, known)) return refuse(not_supported, "an element type other than f32, f64 and bf16");
    *tensor = {known, n, c, h, w, stride_n, stride_c, stride_h, stride_w};
    return success;
}

} // namespace

// --- Handles and descriptors ------------------------------------------------------------------------

EXPORT size_t cudnnGetVersion() { return 91900; }
EXPORT size_t cudnnGetCudartVersion() { return 13000; }
EXPORT const char *cudnnGetErrorString(int status) {
    switch (status) {
    case success: return "CUDNN_STATUS_SUCCESS";
    case bad_param: return "CUDNN_STATUS_BAD_PARAM";
    case size_insufficient: return "CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT";
    case not_supported: return "CUDNN_STATUS_NOT_SUPPORTED";
    default: return "an unknown status";
    }
}
EXPORT int cudnnCreate(void **handle) { return *handle = new Handle, success; }
EXPORT int cudnnDestroy(void *handle) { return delete (Handle *)handle, success; }
EXPORT int cudnnSetStream(void *handle, void *stream) { return ((Handle *)handle)->stream = stream, success; }

EXPORT int cudnnCreateTensorDescriptor(Tensor **tensor) { return *tensor = new Tensor, success; }
EXPORT int cudnnDestroyTensorDescriptor(Tensor *tensor) { return delete tensor, success; }
EXPORT int cudnnSetTensor4dDescriptor(Tensor *tensor, int layout, int type, int n, int c, int h, int w) {
    if (layout == nhwc) return set_tensor(tensor, type, n, c, h, w, h * w * c, 1, w * c, c);
    if (layout == nchw) return set_tensor(tensor, type, n, c, h, w, c * h * w, h * w, w, 1);
    return refuse(not_supported, "a tensor's layout");
}
EXPORT int cudnnSetTensor4dDescriptorEx(Tensor *tensor, int type, int n, int c, int h, int w, int stride_n, int stride_c, int stride_h, int stride_w) {
    return set_tensor(tensor, type, n, c, h, w, stride_n, stride_c, stride_h, stride_w);
}
EXPORT int cudnnSetTensorNdDescriptor(Tensor *tensor, int type, int count, const int *extents, const int *strides) {
    if (count != 4) return refuse(not_supported, "other than 4 dimensions are not emulated");
    return set_tensor(tensor, type, extents[0], extents[1], extents[2], extents[3], strides[0], strides[1], strides[2], strides[3]);
}

EXPORT int cudnnCreateFilterDescriptor(Filter **filter) { return *filter = new Filter, success; }
EXPORT int cudnnDestroyFilterDescriptor(Filter *filter) { return delete filter, success; }
EXPORT int cudnnSetFilter4dDescriptor(Filter *filter, int type, int layout, int k, int c, int h, int w) {
    if (k < 1 || c < 1 || h < 1 || w < 1) return refuse(bad_param, "an extent below 1");
    Type known;
    if (!type_of(type, known) || (layout != nchw && layout != nhwc)) return refuse(not_supported, "a filter's type or layout");
    *filter = {known, (Layout)layout, k, c, h, w};
    return success;
}
EXPORT int cudnnSetFilterNdDescriptor(Filter *filter, int type, int layout, int count, const int *extents) {
    if (count != 4) return refuse(not_supported, "other than 4 dimensions are not emulated");
    return cudnnSetFilter4dDescriptor(filter, type, layout, extents[0], extents[1], extents[2], extents[3]);
}

EXPORT int cudnnCreateConvolutionDescriptor(Convolution **convolution) { return *convolution = new Convolution, success; }
EXPORT int cudnnDestroyConvolutionDescriptor(Convolution *convolution) { return delete convolution, success; }
EXPORT int cudnnSetConvolution2dDescriptor(Convolution *convolution, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h,
                                           int dilation_w, int mode, int compute) {
    if (pad_h < 0 || pad_w < 0 || stride_h < 1 || stride_w < 1 || dilation_h < 1 || dilation_w < 1) return refuse(bad_param, "a negative padding, or a stride or dilation below 1");
    Type known;
    if (!type_of(compute, known)) return refuse(not_supported, "a type of arithmetic");
    *convolution = {pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, mode == 0, known, 1, 0};
    return success;
}
EXPORT int cudnnSetConvolutionNdDescriptor(Convolution *convolution, int count, const int *pads, const int *strides, const int *dilations, int mode, int compute) {
    if (count != 2) return refuse(not_supported, "other than 2 dimensions are not emulated");
    return cudnnSetConvolution2dDescriptor(convolution, pads[0], pads[1], strides[0], strides[1], dilations[0], dilations[1], mode, compute);
}
EXPORT int cudnnSetConvolutionGroupCount(Convolution *convolution, int groups) { return convolution->groups = groups, success; }
EXPORT int cudnnSetConvolutionMathType(Convolution *convolution, int math) { return convolution->math = math, success; }
EXPORT int cudnnGetConvolutionMathType(Convolution *convolution, int *math) { return *math = convolution->math, success; }
EXPORT int cudnnGetConvolution2dForwardOutputDim(const Convolution *convolution, const Tensor *x, const Filter *w, int *n, int *c, int *h, int *width) {
    *n = x->n;
    *c = w->k;
    *h = extent(x->h, convolution->pad_h, w->h, convolution->stride_h, convolution->dilation_h);
    *width = extent(x->w, convolution->pad_w, w->w, convolution->stride_w, convolution->dilation_w);
    return success;
}

// --- Choosing an algorithm --------------------------------------------------------------------------

EXPORT int cudnnGetConvolutionForwardAlgorithmMaxCount(void *, int *count) { return *count = algorithm_counts[0], success; }
EXPORT int cudnnGetConvolutionBackwardDataAlgorithmMaxCount(void *, int *count) { return *count = algorithm_counts[1], success; }
EXPORT int cudnnGetConvolutionBackwardFilterAlgorithmMaxCount(void *, int *count) { return *count = algorithm_counts[2], success; }

EXPORT int cudnnGetConvolutionForwardAlgorithm_v7(void *, const Tensor *x, const Filter *w, const Convolution *convolution, const Tensor *y,
                                                  int requested, int *returned, Performance *results) {
    return rank(Pass::forward, *x, *w, *convolution, *y, requested, returned, results);
}
EXPORT int cudnnGetConvolutionBackwardDataAlgorithm_v7(void *, const Filter *w, const Tensor *dy, const Convolution *convolution, const Tensor *dx,
                                                       int requested, int *returned, Performance *results) {
    return rank(Pass::backward_data, *dx, *w, *convolution, *dy, requested, returned, results);
}
EXPORT int cudnnGetConvolutionBackwardFilterAlgorithm_v7(void *, const Tensor *x, const Tensor *dy, const Convolution *convolution, const Filter *dw,
                                                         int requested, int *returned, Performance *results) {
    return rank(Pass::backward_filter, *x, *dw, *convolution, *dy, requested, returned, results);
}

// The searches run every algorithm on the caller's memory, the output included, within its workspace.
namespace {

int search(void *handle, Pass pass, const Tensor &x, const void *x_data, const Filter &w, const void *w_data, const Convolution &convolution,
           const Tensor &y, const void *y_data, int requested, int *returned, Performance *results, void *given, size_t given_bytes) {
    if (fault("find")) return refuse(execution_failed, "to measure algorithms, as it was asked to");
    if (int status = rank(pass, x, w, convolution, y, requested, returned, results)) return status;
    check_range(x_data, x.reach() * size_of(x.type), "cuDNN, x");
    check_range(w_data, w.count() * size_of(w.type), "cuDNN, w");
    check_range(y_data, y.reach() * size_of(y.type), "cuDNN, y");
    check_range(given, given_bytes, "cuDNN, workspace");
    void *out = const_cast<void *>(pass == Pass::forward ? y_data : pass == Pass::backward_data ? x_data : w_data);
    size_t out_bytes = pass == Pass::backward_filter ? w.count() * size_of(w.type)
                       : pass == Pass::forward       ? y.reach() * size_of(y.type)
                                                     : x.reach() * size_of(x.type);
    enqueue(stream_of(((Handle *)handle)->stream), [=] {
        memset(out, 0xFF, out_bytes);
        memset(given, 0xFF, given_bytes);
    });
    for (int i = 0; i < *returned; ++i)
        if (results[i].status == success && results[i].memory > given_bytes) results[i].status = size_insufficient;
    std::stable_partition(results, results + *returned, [](auto &result) { return result.status == success; });
    return success;
}

} // namespace

EXPORT int cudnnFindConvolutionForwardAlgorithmEx(void *handle, const Tensor *x, const void *x_data, const Filter *w, const void *w_data,
                                                  const Convolution *convolution, const Tensor *y, void *y_data, int requested, int *returned,
                                                  Performance *results, void *given, size_t given_bytes) {
    return search(handle, Pass::forward, *x, x_data, *w, w_data, *convolution, *y, y_data, requested, returned, results, given, given_bytes);
}
EXPORT int cudnnFindConvolutionBackwardDataAlgorithmEx(void *handle, const Filter *w, const void *w_data, const Tensor *dy, const void *dy_data,
                                                       const Convolution *convolution, const Tensor *dx, void *dx_data, int requested,
                                                       int *returned, Performance *results, void *given, size_t given_bytes) {
    return search(handle, Pass::backward_data, *dx, dx_data, *w, w_data, *convolution, *dy, dy_data, requested, returned, results, given, given_bytes);
}
EXPORT int cudnnFindConvolutionBackwardFilterAlgorithmEx(void *handle, const Tensor *x, const void *x_data, const Tensor *dy, const void *dy_data,
                                                         const Convolution *convolution, const Filter *dw, void *dw_data, int requested,
                                                         int *returned, Performance *results, void *given, size_t given_bytes) {
    return search(handle, Pass::backward_filter, *x, x_data, *dw, dw_data, *convolution, *dy, dy_data, requested, returned, results, given, given_bytes);
}

namespace {

int workspace_size(Pass pass, int algorithm, const Tensor &x, const Filter &w, const Convolution &convolution, const Tensor &y, size_t *bytes) {
    if (int status = check_shapes(x, w, convolution, y)) return status;
    if (int status = support(pass, algorithm, x, w, convolution, y)) return refuse(status, "this algorithm for these layouts and shapes");
    *bytes = fault("workspace:" + std::to_string(algorithm)) ? (size_t)1 << 40 : workspace(pass, algorithm, x, w, convolution, y);
    return success;
}

} // namespace

EXPORT int cudnnGetConvolutionForwardWorkspaceSize(void *, const Tensor *x, const Filter *w, const Convolution *convolution, const Tensor *y,
                                                   int algorithm, size_t *bytes) {
    return workspace_size(Pass::forward, algorithm, *x, *w, *convolution, *y, bytes);
}
EXPORT int cudnnGetConvolutionBackwardDataWorkspaceSize(void *, const Filter *w, const Tensor *dy, const Convolution *convolution, const Tensor *dx,
                                                        int algorithm, size_t *bytes) {
    return workspace_size(Pass::backward_data, algorithm, *dx, *w, *convolution, *dy, bytes);
}
EXPORT int cudnnGetConvolutionBackwardFilterWorkspaceSize(void *, const Tensor *x, const Tensor *dy, const Convolution *convolution,
                                                          const Filter *dw, int algorithm, size_t *bytes) {
    return workspace_size(Pass::backward_filter, algorithm, *x, *dw, *convolution, *dy, bytes);
}

// --- The convolutions -------------------------------------------------------------------------------

EXPORT int cudnnConvolutionForward(void *handle, const float *alpha, const Tensor *x, const void *x_data, const Filter *w, const void *w_data,
                                   const Convolution *convolution, int algorithm, void *given, size_t given_bytes, const float *beta,
                                   const Tensor *y, void *y_data) {
    if (int status = prepare((Handle *)handle, Pass::forward, algorithm, *x, x_data, *w, w_data, *convolution, *y, y_data, given, given_bytes)) return status;
    // Descriptors may be destroyed before the work runs.
    enqueue(stream_of(((Handle *)handle)->stream), [=, alpha = *alpha, beta = *beta, x = *x, w = *w, y = *y, convolution = *convolution] {
        convolve(x_data, x, w_data, w, convolution, y_data, y, alpha, beta);
    });
    return success;
}
EXPORT int cudnnConvolutionBackwardData(void *handle, const float *alpha, const Filter *w, const void *w_data, const Tensor *dy, const void *dy_data,
                                        const Convolution *convolution, int algorithm, void *given, size_t given_bytes, const float *beta,
                                        const Tensor *dx, void *dx_data) {
    if (int status = prepare((Handle *)handle, Pass::backward_data, algorithm, *dx, dx_data, *w, w_data, *convolution, *dy, dy_data, given, given_bytes)) return status;
    enqueue(stream_of(((Handle *)handle)->stream), [=, alpha = *alpha, beta = *beta, w = *w, dy = *dy, dx = *dx, convolution = *convolution] {
        convolve_backward_data(w_data, w, dy_data, dy, convolution, dx_data, dx, alpha, beta);
    });
    return success;
}
EXPORT int cudnnConvolutionBackwardFilter(void *handle, const float *alpha, const Tensor *x, const void *x_data, const Tensor *dy, const void *dy_data,
                                          const Convolution *convolution, int algorithm, void *given, size_t given_bytes, const float *beta,
                                          const Filter *dw, void *dw_data) {
    if (int status = prepare((Handle *)handle, Pass::backward_filter, algorithm, *x, x_data, *dw, dw_data, *convolution, *dy, dy_data, given, given_bytes)) return status;
    enqueue(stream_of(((Handle *)handle)->stream), [=, alpha = *alpha, beta = *beta, x = *x, dy = *dy, dw = *dw, convolution = *convolution] {
        convolve_backward_filter(x_data, x, dy_data, dy, convolution, dw_data, dw, alpha, beta);
    });
    return success;
}
