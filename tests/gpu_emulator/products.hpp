// Matrix products, column by column, which both interfaces of cuBLAS share.
#pragma once

#include "emulator.hpp"
#include "numbers.hpp"

#include <vector>

namespace emulator {

struct Matrix {
    const void *data;
    Type type;
    int leading;
    long long stride;
    bool transposed;
};

// Elements from the first to one past the last of a batch of column-major matrices.
inline size_t reach(const Matrix &matrix, int rows, int columns, int batch) {
    if (rows == 0 || columns == 0) return 0;
    return (size_t)(batch - 1) * matrix.stride + (size_t)(columns - 1) * matrix.leading + rows;
}

// `finish(row, value)` changes each value before it is rounded and written.
template <typename T, typename Finish>
void multiply(int m, int n, int k, T alpha, const Matrix &a, const Matrix &b, T beta, const Matrix &c, int batch, int dropped_bits,
              const Finish &finish) {
    for (int i = 0; i < batch; ++i) {
        auto element = [&](const Matrix &matrix, int row, int column) {
            T value = load<T>(matrix.data, matrix.type,
                              i * matrix.stride + (matrix.transposed ? (size_t)row * matrix.leading + column
                                                                     : (size_t)column * matrix.leading + row));
            return dropped_bits ? (T)rounded((float)value, dropped_bits) : value;
        };
        // All of a, column by column: the innermost loop runs over contiguous memory.
        std::vector<T> left((size_t)m * k);
        parallel_for(k, [&](size_t column) {
            for (int row = 0; row < m; ++row) left[column * m + row] = element(a, row, column);
        });
        parallel_for(n, [&](size_t column) {
            std::vector<T> sums(m);
            for (int j = 0; j < k; ++j) {
                T factor = element(b, j, column);
                const T *values = &left[(size_t)j * m];
                for (int row = 0; row < m; ++row) sums[row] += values[row] * factor;
            }
            for (int row = 0; row < m; ++row) {
                size_t index = i * c.stride + column * c.leading + row;
                T value = alpha * sums[row];
                if (beta != 0) value += beta * load<T>(c.data, c.type, index);
                store(const_cast<void *>(c.data), c.type, index, finish(row, value));
            }
        });
    }
}

template <typename T>
void multiply(int m, int n, int k, T alpha, const Matrix &a, const Matrix &b, T beta, const Matrix &c, int batch, int dropped_bits) {
    multiply<T>(m, n, k, alpha, a, b, beta, c, batch, dropped_bits, [](int, T value) { return value; });
}

} // namespace emulator
