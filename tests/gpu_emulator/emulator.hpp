// Shared by the emulator's parts: device memory, streams, and running a kernel's blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace emulator {

// Ends the process, because the program did something that would crash a GPU or silently give wrong results.
[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(const char *format, ...);

// --- memory.cpp ---------------------------------------------------------------------------------

// Memory of the device: filled with 0xFF bytes (NaN in every float format), its end at a page that
// faults, 16 bytes aligned. Graphs' memory is not `counted` as that of the pool.
void *allocate(size_t bytes, bool counted = true);
// Checks an allocation's margins and frees it. Its addresses fault from now on.
void release(void *start);
// The immediate effect of a release in a stream: the host may no longer use the memory.
void release_later(void *start);
// Ends the process unless [start, start + bytes) lies within one living allocation.
void check_range(const void *start, size_t bytes, const char *what);
// Whether `address` is null, inside a living allocation or its end.
bool is_device_address(const void *address);
// Adds the memory that the calling thread's next checks are about to `uses`, unless it is null.
struct Use;
void note_uses(std::vector<Use> *uses);
// Ends the process if something was written outside a living allocation.
void check_margins();
// Describes where an address lies ("24 bytes past the end of an allocation of 400 bytes").
std::string describe(const void *address);
// Bytes in living allocations at present, and the maximum so far.
size_t bytes_in_use();
size_t &peak_bytes_in_use();

// --- streams.cpp --------------------------------------------------------------------------------

struct Stream;
// The stream of a handle in the driver's interface. All default streams are the same.
Stream *stream_of(void *handle);
// Puts work at the end of a stream. It runs when something waits for it, so that a missing
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

// Called once: opens the libraries of kernels next to this one, and reports faults in them.
void load_kernels();

bool setting(const char *name);
// Whether GPU_EMULATOR_FAULTS, a list with commas between, names this fault:
//   query, find       cuDNN does not list the algorithms; does not measure them
//   run:N             cuDNN's algorithm N fails when it is called; run:all, every one
//   random            no algorithm of cuDNN's is repeatable
//   math              algorithms are judged with the default arithmetic, and fail with another one
//   workspace:N       algorithm N takes more memory than it was said to
//   pools             the driver has no memory pools
//   capture, instantiate
//                     streams record no graphs; graphs cannot be made ready to run
//   replay            graphs give other numbers than the work that they recorded
//   lt:query, lt:run, lt:wrong
//                     cublasLt offers no algorithm; fails when it is called; gives wrong numbers
//   lt:later          cublasLt fails from the 5th product on
//   graph:query, graph:plan, graph:run, graph:wrong
//                     cuDNN's graph interface offers no kernel; makes no plan; fails; gives wrong numbers
//   lt:bias:run, graph:bias:run, ...
//                     the same of products with a bias and ReLU alone
bool fault(const std::string &name);
inline void log(const std::string &line) {
    if (setting("GPU_EMULATOR_LOG")) fprintf(stderr, "gpu emulator: %s\n", line.c_str());
}

} // namespace emulator
