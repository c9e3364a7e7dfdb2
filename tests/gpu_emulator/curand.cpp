// cuRAND: random numbers of the right distribution; not the sequences of a GPU.

#include "emulator.hpp"

#include <memory>
#include <random>

using namespace emulator;

namespace {

enum Status : int { success = 0, length_not_multiple = 105 };

struct Generator {
    std::shared_ptr<std::mt19937_64> engine = std::make_shared<std::mt19937_64>();
    void *stream = nullptr;
};

template <typename T, typename Distribution>
int generate(void *handle, T *out, size_t count, Distribution distribution) {
    auto generator = (Generator *)handle;
    check_range(out, count * sizeof(T), "cuRAND");
    enqueue(stream_of(generator->stream), [=, engine = generator->engine]() mutable {
        for (size_t i = 0; i < count; ++i) out[i] = distribution(*engine);
    });
    return success;
}

// In (0, 1], as cuRAND's.
template <typename T>
struct Uniform {
    T operator()(std::mt19937_64 &engine) const { return 1 - std::generate_canonical<T, 53>(engine); }
};

} // namespace

EXPORT int curandCreateGenerator(void **generator, int) { return *generator = new Generator, success; }
EXPORT int curandDestroyGenerator(void *generator) { return delete (Generator *)generator, success; }
EXPORT int curandSetPseudoRandomGeneratorSeed(void *generator, unsigned long long seed) {
    return ((Generator *)generator)->engine = std::make_shared<std::mt19937_64>(seed), success;
}
EXPORT int curandSetStream(void *generator, void *stream) { return ((Generator *)generator)->stream = stream, success; }
EXPORT int curandGenerateUniform(void *generator, float *out, size_t count) { return generate(generator, out, count, Uniform<float>()); }
EXPORT int curandGenerateUniformDouble(void *generator, double *out, size_t count) { return generate(generator, out, count, Uniform<double>()); }
EXPORT int curandGenerateNormal(void *generator, float *out, size_t count, float mean, float deviation) {
    // Pseudo-random normal numbers come in pairs.
    if (count % 2) return length_not_multiple;
    return generate(generator, out, count, std::normal_distribution<float>(mean, deviation));
}
EXPORT int curandGenerateNormalDouble(void *generator, double *out, size_t count, double mean, double deviation) {
    if (count % 2) return length_not_multiple;
    return generate(generator, out, count, std::normal_distribution<double>(mean, deviation));
}
