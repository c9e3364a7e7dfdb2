// The emulator's interface for compiled kernels: a thread's position, how it waits, and how a kernel
// is registered by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace emulator {

#define EMULATOR_API __attribute__((visibility("default")))

// The thread that runs now on this processor.
struct Position {
    uint3 thread, block, block_extent, grid_extent;
};
extern EMULATOR_API __thread Position position __attribute__((tls_model("initial-exec")));

enum class Wait : int { none, barrier, barrier_or, barrier_and, barrier_count, exchange };

// `__syncthreads` and its relatives. Returns the combined predicate if one is requested.
EMULATOR_API int wait_at_barrier(Wait kind, int predicate);
// Gives `bytes` bytes at `value` to the warp and takes those of lane `source`; 0xFF bytes if that lane
// has ended. Returns when all living lanes of `mask` have arrived.
EMULATOR_API void exchange(unsigned mask, int source, void *value, size_t bytes, unsigned *arrived = nullptr);
EMULATOR_API unsigned lane();

// A kernel's arguments, copied from a launch; calls the kernel for one thread.
using Bound = std::function<void()>;
// `check(index, address, alignment)` sees every argument that is a pointer.
using PointerCheck = std::function<void(int, const void *, size_t)>;
using Binder = Bound (*)(void **arguments, const PointerCheck &check);
EMULATOR_API void register_kernel(const char *name, Binder bind, unsigned max_threads, const void *address);

template <typename T>
void check_argument(int index, const T &value, const PointerCheck &check) {
    if constexpr (std::is_pointer_v<T>) {
        if constexpr (std::is_void_v<std::remove_pointer_t<T>>)
            check(index, value, 1);
        else
            check(index, value, alignof(std::remove_pointer_t<T>));
    }
}

template <auto kernel, typename Signature = decltype(kernel)>
struct Binding;

template <auto kernel, typename... Arguments>
struct Binding<kernel, void (*)(Arguments...)> {
    static Bound bind(void **arguments, const PointerCheck &check) {
        return bind(arguments, check, std::index_sequence_for<Arguments...>());
    }

    template <size_t... index>
    static Bound bind(void **arguments, const PointerCheck &check, std::index_sequence<index...>) {
        (void)arguments;
        // Arguments are packed by the host without C++'s alignment.
        auto values = std::make_shared<std::tuple<std::remove_cv_t<Arguments>...>>();
        (memcpy((void *)&std::get<index>(*values), arguments[index], sizeof(Arguments)), ...);
        (check_argument((int)index, std::get<index>(*values), check), ...);
        return [values] { std::apply(kernel, *values); };
    }
};

struct Registration {
    Registration(const char *name, Binder bind, unsigned max_threads, const void *address) {
        register_kernel(name, bind, max_threads, address);
    }
};

// One line for every kernel of a file, written by scripts/gpu_emulator.sh.
#define EMULATED_KERNEL(NAME, MAX_THREADS)                                                            \
    static emulator::Registration emulated_##NAME(#NAME, emulator::Binding<&NAME>::bind, MAX_THREADS, \
                                                  (const void *)&NAME);

} // namespace emulator
