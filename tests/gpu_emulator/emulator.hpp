// What the emulator's parts share: device memory, streams, and running a kernel's blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace emulator {

// Ends the process: the program did what a GPU would not survive, or what it would silently get wrong.
[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(const char *format, ...);

// --- memory.cpp ---------------------------------------------------------------------------------

// Memory of the device: filled with 0xFF bytes (NaN in every float format), its end at a page that
// faults, 16 bytes aligned.
void *allocate(size_t bytes);
// Gives an allocation back after a look at its margins; its addresses fault from now on.
void release(void *start);
// What the host sees at once of a release in a stream: the memory is no longer its to use.
void release_later(void *start);
// Ends the process unless [start, start + bytes) lies within one living allocation.
void check_range(const void *start, size_t bytes, const char *what);
// Whether `address` is null, inside a living allocation or its end.
bool is_device_address(const void *address);
// Ends the process if something was written beside a living allocation.
void check_margins();
// Describes where an address lies ("24 bytes past the end of an allocation of 400 bytes").
std::string describe(const void *address);
// Bytes in living allocations now, and the most there have been at once.
size_t bytes_in_use();
size_t &peak_bytes_in_use();

// --- streams.cpp --------------------------------------------------------------------------------

struct Stream;
// The stream behind a handle of the driver's interface; the default streams are one.
Stream *stream_of(void *handle);
// Puts work at the end of a stream. It runs when somebody waits for it, so that a missing
// synchronisation shows; at once with GPU_EMULATOR_EAGER=1.
void enqueue(Stream *stream, std::function<void()> work);
// Runs all work of a stream, with what it waits for on others.
void finish(Stream *stream);
void finish_all();

// --- threads.cpp --------------------------------------------------------------------------------

// Calls `work(i)` for every i below `count`, on all processors.
void parallel_for(size_t count, const std::function<void(size_t)> &work);

struct Extent {
    unsigned x, y, z;
};

struct Kernel;
// The registered kernel of that name, or null.
const Kernel *find_kernel(const char *name);
const char *name_of(const Kernel *kernel);
// `__launch_bounds__`, or 1024.
unsigned max_threads_of(const Kernel *kernel);
// Reads the arguments now and enqueues the kernel's blocks.
void launch(const Kernel *kernel, Extent grid, Extent block, void **arguments, Stream *stream);

// Called once: opens the libraries of kernels beside this one, and reports faults in them.
void load_kernels();

bool setting(const char *name);
// Whether GPU_EMULATOR_FAULTS, a list with commas between, names this fault:
//   query, find       cuDNN does not answer what algorithms there are; does not measure them
//   run:N             cuDNN's algorithm N fails when it is called; run:all, every one
//   random            no algorithm of cuDNN's is repeatable
//   math              algorithms are judged with the default arithmetic, and fail with another one
//   workspace:N       algorithm N takes more memory than it was said to
//   pools             the driver has no memory pools
bool fault(const std::string &name);
inline void log(const std::string &line) {
    if (setting("GPU_EMULATOR_LOG")) fprintf(stderr, "gpu emulator: %s\n", line.c_str());
}

} // namespace emulator
