// cuBLAS: matrix products, column by column.

#include "products.hpp"

#include <cstdio>

using namespace emulator;

namespace {

enum Status : int { success = 0, invalid_value = 7, not_supported = 15 };
enum : int { compute_32f = 68, compute_32f_pedantic = 69, compute_64f = 70, compute_64f_pedantic = 71,
             compute_32f_fast_bf16 = 75, compute_32f_fast_tf32 = 77 };
enum : int { pedantic_math = 2, tf32_math = 3 };

struct Handle {
    void *stream = nullptr;
    int math = 0;
};

int refuse(const char *why) {
    fprintf(stderr, "gpu emulator: cuBLAS refuses: %s\n", why);
    return invalid_value;
}

int gemm(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const void *alpha, Matrix a, Matrix b,
         const void *beta, Matrix c, int batch, int compute) {
    if (!handle) return 1;
    if (m < 0 || n < 0 || k < 0 || batch < 0) return refuse("a negative extent");
    if (transpose_a < 0 || transpose_a > 2 || transpose_b < 0 || transpose_b > 2) return refuse("an unknown transposition");
    a.transposed = transpose_a != 0;
    b.transposed = transpose_b != 0;
    int rows_a = a.transposed ? k : m, rows_b = b.transposed ? n : k;
    int columns_a = a.transposed ? m : k, columns_b = b.transposed ? k : n;
    if (a.leading < std::max(1, rows_a) || b.leading < std::max(1, rows_b) || c.leading < std::max(1, m))
        return refuse("a leading dimension is smaller than the matrix has rows");
    // Results lie one after the other, or as columns of one matrix next to each other.
    bool apart = c.stride >= (long long)c.leading * (n - 1) + m;
    bool beside = c.stride >= m && c.stride * (batch - 1) + m <= c.leading;
    if (batch > 1 && !apart && !beside) return refuse("results of a batch overlap");
    if (m == 0 || n == 0 || batch == 0) return success;
    for (auto matrix : {&a, &b, &c})
        if ((uintptr_t)matrix->data % size_of(matrix->type)) return refuse("an unaligned matrix");
    check_range(a.data, reach(a, rows_a, columns_a, batch) * size_of(a.type), "cuBLAS, matrix A");
    check_range(b.data, reach(b, rows_b, columns_b, batch) * size_of(b.type), "cuBLAS, matrix B");
    check_range(c.data, reach(c, m, n, batch) * size_of(c.type), "cuBLAS, matrix C");
    auto own = (Handle *)handle;
    auto stream = stream_of(own->stream);
    log("gemm " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + " batch " + std::to_string(batch));
    if (c.type == Type::f64) {
        enqueue(stream, [=, alpha = *(const double *)alpha, beta = *(const double *)beta] {
            multiply<double>(m, n, k, alpha, a, b, beta, c, batch, 0);
        });
        return success;
    }
    int dropped_bits = 0;
    if (a.type == Type::f32) {
        bool tf32 = compute == compute_32f_fast_tf32 || (compute == compute_32f && own->math == tf32_math);
        dropped_bits = compute == compute_32f_fast_bf16 ? 16 : tf32 ? 13 : 0;
    }
    enqueue(stream, [=, alpha = *(const float *)alpha, beta = *(const float *)beta] {
        multiply<float>(m, n, k, alpha, a, b, beta, c, batch, dropped_bits);
    });
    return success;
}

bool type_of(int code, Type &type) {
    switch (code) {
    case 0: return type = Type::f32, true;
    case 1: return type = Type::f64, true;
    case 14: return type = Type::bf16, true;
    default: return false;
    }
}

} // namespace

EXPORT int cublasCreate_v2(void **handle) { return *handle = new Handle, success; }
EXPORT int cublasDestroy_v2(void *handle) { return delete (Handle *)handle, success; }
EXPORT int cublasSetStream_v2(void *handle, void *stream) { return ((Handle *)handle)->stream = stream, success; }
EXPORT int cublasGetMathMode(void *handle, int *mode) { return *mode = ((Handle *)handle)->math, success; }
EXPORT int cublasSetMathMode(void *handle, int mode) { return ((Handle *)handle)->math = mode, success; }
EXPORT int cublasSetAtomicsMode(void *, int) { return success; }
EXPORT int cublasSetWorkspace_v2(void *, void *workspace, size_t bytes) {
    return check_range(workspace, bytes, "cuBLAS, workspace"), success;
}
EXPORT size_t cublasGetCudartVersion() { return 13000; }

EXPORT int cublasGemmStridedBatchedEx(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const void *alpha,
                                      const void *a, int type_a, int leading_a, long long stride_a, const void *b, int type_b,
                                      int leading_b, long long stride_b, const void *beta, void *c, int type_c, int leading_c,
                                      long long stride_c, int batch, int compute, int) {
    Type types[3];
    if (!type_of(type_a, types[0]) || !type_of(type_b, types[1]) || !type_of(type_c, types[2])) return not_supported;
    bool wide = compute == compute_64f || compute == compute_64f_pedantic;
    bool narrow = compute == compute_32f || compute == compute_32f_pedantic || compute == compute_32f_fast_tf32 ||
                  compute == compute_32f_fast_bf16;
    // f64 by itself; f32 by itself; bf16 factors with a bf16 or f32 product.
    if (types[0] != types[1] || (!wide && !narrow) || wide != (types[0] == Type::f64) || wide != (types[2] == Type::f64) ||
        (types[0] == Type::f32 && types[2] != Type::f32)) {
        fprintf(stderr, "gpu emulator: cuBLAS does not support these types\n");
        return not_supported;
    }
    return gemm(handle, transpose_a, transpose_b, m, n, k, alpha, {a, types[0], leading_a, stride_a, false},
                {b, types[1], leading_b, stride_b, false}, beta, {c, types[2], leading_c, stride_c, false}, batch, compute);
}

EXPORT int cublasGemmEx(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const void *alpha, const void *a,
                        int type_a, int leading_a, const void *b, int type_b, int leading_b, const void *beta, void *c, int type_c,
                        int leading_c, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, transpose_a, transpose_b, m, n, k, alpha, a, type_a, leading_a, 0, b, type_b, leading_b,
                                      0, beta, c, type_c, leading_c, 0, 1, compute, algorithm);
}

EXPORT int cublasSgemmStridedBatched(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const float *alpha,
                                     const float *a, int leading_a, long long stride_a, const float *b, int leading_b,
                                     long long stride_b, const float *beta, float *c, int leading_c, long long stride_c, int batch) {
    return cublasGemmStridedBatchedEx(handle, transpose_a, transpose_b, m, n, k, alpha, a, 0, leading_a, stride_a, b, 0, leading_b,
                                      stride_b, beta, c, 0, leading_c, stride_c, batch, compute_32f, -1);
}

EXPORT int cublasDgemmStridedBatched(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const double *alpha,
                                     const double *a, int leading_a, long long stride_a, const double *b, int leading_b,
                                     long long stride_b, const double *beta, double *c, int leading_c, long long stride_c, int batch) {
    return cublasGemmStridedBatchedEx(handle, transpose_a, transpose_b, m, n, k, alpha, a, 1, leading_a, stride_a, b, 1, leading_b,
                                      stride_b, beta, c, 1, leading_c, stride_c, batch, compute_64f, -1);
}

EXPORT int cublasSgemm_v2(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const float *alpha, const float *a,
                          int leading_a, const float *b, int leading_b, const float *beta, float *c, int leading_c) {
    return cublasSgemmStridedBatched(handle, transpose_a, transpose_b, m, n, k, alpha, a, leading_a, 0, b, leading_b, 0, beta, c, leading_c, 0, 1);
}

EXPORT int cublasDgemm_v2(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const double *alpha, const double *a,
                          int leading_a, const double *b, int leading_b, const double *beta, double *c, int leading_c) {
    return cublasDgemmStridedBatched(handle, transpose_a, transpose_b, m, n, k, alpha, a, leading_a, 0, b, leading_b, 0, beta, c, leading_c, 0, 1);
}
