// cublasLt: D = alpha A B + beta C with an algorithm that the program chooses from a list. A bias of D's rows may be
// added, and ReLU applied, before D is written.

#include "products.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

using namespace emulator;

namespace {

enum Status : int { success = 0, invalid_value = 7, not_supported = 15, execution_failed = 13 };
enum : int { compute_32f = 68, compute_32f_fast_tf32 = 77 };
enum : uint32_t { no_epilogue = 1, relu_bias = 6 };

struct Layout {
    Type type;
    uint64_t rows, columns;
    int64_t leading;
};

struct Operation {
    int compute;
    bool transposed[2] = {false, false};
    uint32_t epilogue = no_epilogue;
    const void *bias = nullptr;

    bool has_bias() const { return epilogue == relu_bias; }
};

struct Preference {
    uint64_t workspace = 0;
    uint32_t reduction = 7;
    uint32_t alignment[4] = {256, 256, 256, 256};
};

// What a program passes on without looking into it.
struct Algorithm {
    uint64_t id, workspace, mark, rest[5];
};
constexpr uint64_t mark = 0x171A60217;

struct Result {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

int refuse(const char *why, int status = invalid_value) {
    fprintf(stderr, "gpu emulator: cublasLt refuses: %s\n", why);
    return status;
}

bool type_of(int code, Type &type) {
    if (code != 0 && code != 14) return false;
    return type = code == 0 ? Type::f32 : Type::bf16, true;
}

int check(const Operation &operation, const Layout &a, const Layout &b, const Layout &c, const Layout &d) {
    if (operation.compute != compute_32f && operation.compute != compute_32f_fast_tf32)
        return refuse("a type of arithmetic that is not emulated", not_supported);
    for (auto layout : {&a, &b, &c, &d})
        if (layout->type != a.type) return refuse("matrices of different types", not_supported);
    uint64_t rows = operation.transposed[0] ? a.columns : a.rows, inner = operation.transposed[0] ? a.rows : a.columns;
    uint64_t inner_b = operation.transposed[1] ? b.columns : b.rows, columns = operation.transposed[1] ? b.rows : b.columns;
    if (inner != inner_b || rows != d.rows || columns != d.columns || c.rows != d.rows || c.columns != d.columns || c.leading != d.leading)
        return refuse("extents do not fit each other");
    // Its address says how a bias is aligned, before it is read.
    if (operation.has_bias() && (!operation.bias || (uintptr_t)operation.bias % 16)) return refuse("a bias that is missing, or not aligned to 16 bytes");
    if (!operation.has_bias() && operation.bias) return refuse("a bias without an epilogue that reads it");
    return success;
}

// Whether products fail as `kind` says, or those with a bias do.
bool is_faulty(const Operation &operation, const std::string &kind) {
    return fault("lt:" + kind) || (operation.has_bias() && fault("lt:bias:" + kind));
}

} // namespace

EXPORT int cublasLtCreate(void **handle) { return *handle = new int, success; }
EXPORT int cublasLtDestroy(void *handle) { return delete (int *)handle, success; }

EXPORT int cublasLtMatrixLayoutCreate(Layout **layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
    Type known;
    if (!type_of(type, known)) return refuse("a type of elements", not_supported);
    if (leading < (int64_t)rows) return refuse("a leading dimension is smaller than the matrix has rows");
    return *layout = new Layout{known, rows, columns, leading}, success;
}
EXPORT int cublasLtMatrixLayoutDestroy(Layout *layout) { return delete layout, success; }

EXPORT int cublasLtMatmulDescCreate(Operation **operation, int compute, int scale) {
    if (scale != 0) return refuse("factors other than f32", not_supported);
    return *operation = new Operation{compute}, success;
}
EXPORT int cublasLtMatmulDescDestroy(Operation *operation) { return delete operation, success; }
EXPORT int cublasLtMatmulDescSetAttribute(Operation *operation, int attribute, const void *value, size_t bytes) {
    if (attribute == 8 && bytes == sizeof(void *)) return memcpy(&operation->bias, value, bytes), success;
    if (attribute == 7 && bytes == 4) {
        memcpy(&operation->epilogue, value, 4);
        return operation->epilogue == no_epilogue || operation->has_bias() ? success : refuse("an epilogue that is not emulated", not_supported);
    }
    // TRANSA, TRANSB. The bias has D's type: another one is not emulated.
    if ((attribute != 3 && attribute != 4) || bytes != 4) return refuse("an attribute of a product");
    int transposition;
    memcpy(&transposition, value, 4);
    if (transposition < 0 || transposition > 1) return refuse("an unknown transposition");
    return operation->transposed[attribute - 3] = transposition == 1, success;
}

EXPORT int cublasLtMatmulPreferenceCreate(Preference **preference) { return *preference = new Preference, success; }
EXPORT int cublasLtMatmulPreferenceDestroy(Preference *preference) { return delete preference, success; }
EXPORT int cublasLtMatmulPreferenceSetAttribute(Preference *preference, int attribute, const void *value, size_t bytes) {
    bool wide = attribute == 1;
    if (bytes != (wide ? 8 : 4)) return refuse("a preference of another size");
    if (wide)
        memcpy(&preference->workspace, value, 8);
    else if (attribute == 3)
        memcpy(&preference->reduction, value, 4);
    else if (attribute >= 5 && attribute <= 8)
        memcpy(&preference->alignment[attribute - 5], value, 4);
    else
        return refuse("an unknown preference");
    return success;
}

// Three algorithms, of which the second needs memory.
EXPORT int cublasLtMatmulAlgoGetHeuristic(void *handle, const Operation *operation, const Layout *a, const Layout *b, const Layout *c,
                                          const Layout *d, const Preference *preference, int requested, Result *results, int *returned) {
    if (!handle || requested < 1) return refuse("a missing handle, or no room for algorithms");
    if (int status = check(*operation, *a, *b, *c, *d)) return status;
    if (is_faulty(*operation, "query")) return *returned = 0, not_supported;
    for (uint32_t alignment : preference->alignment)
        if (alignment > 16) return refuse("memory is aligned to 16 bytes here", not_supported);
    *returned = std::min(requested, 3);
    for (int i = 0; i < *returned; ++i) {
        uint64_t workspace = i == 1 ? 4099 : 0;
        results[i] = {{(uint64_t)i, workspace, mark, {}}, workspace, workspace > preference->workspace ? not_supported : success, 1.0f, {}};
    }
    return success;
}

EXPORT int cublasLtMatmul(void *handle, const Operation *operation, const float *alpha, const void *a_data, const Layout *a, const void *b_data,
                          const Layout *b, const float *beta, const void *c_data, const Layout *c, void *d_data, const Layout *d,
                          const Algorithm *algorithm, void *workspace, size_t workspace_bytes, void *stream) {
    static int calls = 0;
    if (!handle) return 1;
    if (int status = check(*operation, *a, *b, *c, *d)) return status;
    if (!algorithm || algorithm->mark != mark) return refuse("an algorithm that it did not name");
    if (workspace_bytes < algorithm->workspace) return refuse("the workspace is too small");
    if (is_faulty(*operation, "run") || (is_faulty(*operation, "later") && ++calls >= 5)) return refuse("as it was asked to", execution_failed);
    auto bytes = [](const Layout &layout) { return ((layout.columns - 1) * layout.leading + layout.rows) * size_of(layout.type); };
    check_range(a_data, bytes(*a), "cublasLt, matrix A");
    check_range(b_data, bytes(*b), "cublasLt, matrix B");
    if (*beta != 0) check_range(c_data, bytes(*c), "cublasLt, matrix C");
    check_range(d_data, bytes(*d), "cublasLt, matrix D");
    if (operation->has_bias()) check_range(operation->bias, d->rows * size_of(d->type), "cublasLt, bias");
    if (algorithm->workspace) check_range(workspace, algorithm->workspace, "cublasLt, workspace");
    for (auto address : {a_data, b_data, c_data, (const void *)d_data})
        if ((uintptr_t)address % 16) return refuse("an address that is not aligned as promised");
    int m = d->rows, n = d->columns, k = operation->transposed[0] ? a->rows : a->columns;
    log("cublasLt " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + (operation->has_bias() ? " with bias and ReLU" : ""));
    Matrix left{a_data, a->type, (int)a->leading, 0, operation->transposed[0]}, right{b_data, b->type, (int)b->leading, 0, operation->transposed[1]};
    Matrix out{d_data, d->type, (int)d->leading, 0, false};
    int dropped = a->type == Type::f32 && operation->compute == compute_32f_fast_tf32 ? 13 : 0;
    size_t needed = algorithm->workspace, all = bytes(*d);
    auto finish = [bias = operation->has_bias() ? operation->bias : nullptr, type = d->type](int row, float value) {
        return bias ? std::max(value + load<float>(bias, type, row), 0.0f) : value;
    };
    enqueue(stream_of(stream), [=, alpha = *alpha * (is_faulty(*operation, "wrong") ? 1.5f : 1.0f), beta = *beta] {
        if (needed) memset(workspace, 0xFF, needed);
        if (beta != 0 && c_data != d_data) memcpy(d_data, c_data, all);
        multiply<float>(m, n, k, alpha, left, right, beta, out, 1, dropped, finish);
    });
    return success;
}

EXPORT const char *cublasLtGetStatusString(int) { return "a status of cublasLt"; }
