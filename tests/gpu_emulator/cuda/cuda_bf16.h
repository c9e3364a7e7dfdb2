// bf16 and half precision floats, as far as the kernels use them.
#pragma once

#include "../device.hpp"

// `mantissa` bits of 10 (half) or 7 (bf16); every result is rounded to nearest, ties to even.
template <int mantissa>
struct EmulatedFloat16 {
    unsigned short bits;

    EmulatedFloat16() = default;
    template <typename T, typename = std::enable_if_t<std::is_arithmetic_v<T>>>
    EmulatedFloat16(T value) : bits(rounded((float)value)) {}
    operator float() const { return widened(bits); }

    template <typename T> EmulatedFloat16 &operator+=(T other) { return *this = (float)*this + (float)other; }
    template <typename T> EmulatedFloat16 &operator-=(T other) { return *this = (float)*this - (float)other; }
    template <typename T> EmulatedFloat16 &operator*=(T other) { return *this = (float)*this * (float)other; }
    template <typename T> EmulatedFloat16 &operator/=(T other) { return *this = (float)*this / (float)other; }

  private:
    static unsigned short rounded(float value) {
        uint32_t word = emulated_bits<uint32_t>(value), sign = word >> 16 & 0x8000;
        if constexpr (mantissa == 7) {
            if (value != value) return 0x7FFF;
            return (word + 0x7FFF + (word >> 16 & 1)) >> 16;
        } else {
            if (value != value) return 0x7FFF;
            if (value == 0) return sign;
            int exponent;
            frexpf(value, &exponent);
            if (!(fabsf(value) < 65520)) return sign | 0x7C00;
            // In units of the spacing of half floats there; subnormals are spaced as the smallest normal ones.
            exponent = exponent - 1 < -14 ? -14 : exponent - 1;
            float units = rintf(ldexpf(fabsf(value), 10 - exponent));
            // A carry into the exponent is right as it is.
            return sign | (unsigned short)(((exponent + 15 - 1) << 10) + (int)units);
        }
    }

    static float widened(unsigned short bits) {
        if constexpr (mantissa == 7) {
            return emulated_bits<float>((uint32_t)bits << 16);
        } else {
            int exponent = bits >> 10 & 31, fraction = bits & 1023;
            float value = exponent == 31 ? (fraction ? NAN : INFINITY)
                          : exponent     ? ldexpf((float)(1024 + fraction), exponent - 25)
                                         : ldexpf((float)fraction, -24);
            return bits & 0x8000 ? -value : value;
        }
    }
};

template <int m> EmulatedFloat16<m> operator+(EmulatedFloat16<m> a, EmulatedFloat16<m> b) { return (float)a + (float)b; }
template <int m> EmulatedFloat16<m> operator-(EmulatedFloat16<m> a, EmulatedFloat16<m> b) { return (float)a - (float)b; }
template <int m> EmulatedFloat16<m> operator*(EmulatedFloat16<m> a, EmulatedFloat16<m> b) { return (float)a * (float)b; }
template <int m> EmulatedFloat16<m> operator/(EmulatedFloat16<m> a, EmulatedFloat16<m> b) { return (float)a / (float)b; }
template <int m> EmulatedFloat16<m> operator-(EmulatedFloat16<m> a) { return -(float)a; }

template <int m> EmulatedFloat16<m> hsqrt(EmulatedFloat16<m> a) { return sqrtf(a); }
template <int m> EmulatedFloat16<m> hcos(EmulatedFloat16<m> a) { return cosf(a); }
template <int m> EmulatedFloat16<m> hsin(EmulatedFloat16<m> a) { return sinf(a); }
template <int m> EmulatedFloat16<m> hlog(EmulatedFloat16<m> a) { return logf(a); }
template <int m> EmulatedFloat16<m> hexp(EmulatedFloat16<m> a) { return expf(a); }
template <int m> EmulatedFloat16<m> __habs(EmulatedFloat16<m> a) { return fabsf(a); }
template <int m> bool __hisnan(EmulatedFloat16<m> a) { return (float)a != (float)a; }
template <int m> EmulatedFloat16<m> __hmax(EmulatedFloat16<m> a, EmulatedFloat16<m> b) { return fmaxf(a, b); }
template <int m> EmulatedFloat16<m> __hmin(EmulatedFloat16<m> a, EmulatedFloat16<m> b) { return fminf(a, b); }
template <int m> EmulatedFloat16<m> __hmax_nan(EmulatedFloat16<m> a, EmulatedFloat16<m> b) {
    return __hisnan(a) ? a : __hisnan(b) ? b : __hmax(a, b);
}
template <int m> EmulatedFloat16<m> __hmin_nan(EmulatedFloat16<m> a, EmulatedFloat16<m> b) {
    return __hisnan(a) ? a : __hisnan(b) ? b : __hmin(a, b);
}
template <int m> EmulatedFloat16<m> __hadd(EmulatedFloat16<m> a, EmulatedFloat16<m> b) { return a + b; }
template <int m> EmulatedFloat16<m> __hsub(EmulatedFloat16<m> a, EmulatedFloat16<m> b) { return a - b; }
template <int m> EmulatedFloat16<m> __hmul(EmulatedFloat16<m> a, EmulatedFloat16<m> b) { return a * b; }
template <int m> EmulatedFloat16<m> __hdiv(EmulatedFloat16<m> a, EmulatedFloat16<m> b) { return a / b; }

using __half = EmulatedFloat16<10>;
using half = __half;
inline float __half2float(__half x) { return x; }
inline __half __float2half(float x) { return x; }
inline unsigned short __half_as_ushort(__half x) { return x.bits; }
inline __half __ushort_as_half(unsigned short x) { return emulated_bits<__half>(x); }

using __nv_bfloat16 = EmulatedFloat16<7>;
using nv_bfloat16 = __nv_bfloat16;
inline float __bfloat162float(__nv_bfloat16 x) { return x; }
inline __nv_bfloat16 __float2bfloat16(float x) { return x; }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return x; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short x) { return emulated_bits<__nv_bfloat16>(x); }

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
using nv_bfloat162 = __nv_bfloat162;
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 v) { return {v.x, v.y}; }
inline __nv_bfloat162 __float2bfloat162_rn(float x) { return {x, x}; }
inline float2 __bfloat1622float2(__nv_bfloat162 v) { return {v.x, v.y}; }
inline float __low2float(__nv_bfloat162 v) { return v.x; }
inline float __high2float(__nv_bfloat162 v) { return v.y; }
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 v) { return v.x; }
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 v) { return v.y; }
inline __nv_bfloat162 __hadd2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x + b.x, a.y + b.y}; }
inline __nv_bfloat162 __hsub2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x - b.x, a.y - b.y}; }
inline __nv_bfloat162 __hmul2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x * b.x, a.y * b.y}; }
