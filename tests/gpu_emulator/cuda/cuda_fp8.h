// The 8-bit float of candle's kernels; nothing here computes with it, but they do not compile without.
#pragma once

#include "cuda_bf16.h"

constexpr int __NV_E4M3 = 0;

inline __half __nv_cvt_fp8_to_halfraw(unsigned char x, int) {
    int exponent = x >> 3 & 15, fraction = x & 7;
    float value = (x & 0x7F) == 0x7F ? NAN
                  : exponent         ? ldexpf((float)(8 + fraction), exponent - 10)
                                     : ldexpf((float)fraction, -9);
    return x & 0x80 ? -value : value;
}

struct __nv_fp8_e4m3 {
    unsigned char __x;

    __nv_fp8_e4m3() = default;
    explicit __nv_fp8_e4m3(float value) : __x(0x7F) {
        // The nearest of all finite ones; the even one of two.
        float nearest = INFINITY;
        for (int candidate = 0; candidate < 256; ++candidate) {
            if ((candidate & 0x7F) == 0x7F) continue;
            float distance = fabsf(__nv_cvt_fp8_to_halfraw(candidate, __NV_E4M3) - value);
            if (distance < nearest || (distance == nearest && candidate % 2 == 0 && signbit(value) == candidate >> 7)) {
                nearest = distance;
                __x = candidate;
            }
        }
    }
    operator float() const { return __nv_cvt_fp8_to_halfraw(__x, __NV_E4M3); }
};
