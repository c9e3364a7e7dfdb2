// The libraries' element types on the host.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace emulator {

enum class Type { f32, f64, bf16 };

inline size_t size_of(Type type) { return type == Type::f64 ? 8 : type == Type::f32 ? 4 : 2; }

inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

// Rounds to nearest, ties to even, with the lowest `dropped` bits of a float left out.
inline float rounded(float value, int dropped) {
    if (!std::isfinite(value)) return value;
    uint32_t bits = bits_of(value);
    bits += (1u << (dropped - 1)) - 1 + (bits >> dropped & 1);
    return float_of(bits & ~((1u << dropped) - 1));
}
inline float rounded_to_tf32(float value) { return rounded(value, 13); }
inline float rounded_to_bf16(float value) { return rounded(value, 16); }

template <typename T>
T load(const void *data, Type type, size_t index) {
    switch (type) {
    case Type::f32: return (T)((const float *)data)[index];
    case Type::f64: return (T)((const double *)data)[index];
    default: return (T)float_of((uint32_t)((const uint16_t *)data)[index] << 16);
    }
}

template <typename T>
void store(void *data, Type type, size_t index, T value) {
    switch (type) {
    case Type::f32: ((float *)data)[index] = (float)value; break;
    case Type::f64: ((double *)data)[index] = (double)value; break;
    default: ((uint16_t *)data)[index] = std::isnan(value) ? 0x7FFF : bits_of(rounded_to_bf16((float)value)) >> 16;
    }
}

} // namespace emulator
