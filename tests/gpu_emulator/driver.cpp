// libcuda: one device, its memory, streams, events, modules and launches.

#include "emulator.hpp"
#include "graphs.hpp"
#include "streams.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

using namespace emulator;

namespace {

enum Result : int {
    success = 0,
    invalid_value = 1,
    out_of_memory = 2,
    invalid_device = 101,
    invalid_context = 201,
    invalid_handle = 400,
    not_found = 500,
    not_supported = 801,
    recording_unsupported = 900,
    recording_void = 901,
};

constexpr size_t memory_of_device = 80ull << 30;
constexpr int compute_capability[2] = {9, 0};
constexpr unsigned largest_block = 1024;

// The only context, and the current one of each thread.
int primary_context;
thread_local void *current_context = nullptr;

std::recursive_mutex pinned_mutex;
auto &pinned = *new std::map<uintptr_t, size_t>;

bool is_pinned(const void *address) {
    std::lock_guard lock(pinned_mutex);
    auto entry = pinned.upper_bound((uintptr_t)address);
    if (entry == pinned.begin()) return false;
    --entry;
    return (uintptr_t)address - entry->first < entry->second;
}

uint64_t release_threshold = 0;

// Modules and functions in the emulator: kernels are identified by name.
struct Module {};
struct Function {
    const Kernel *kernel;
};

// GPU_EMULATOR_DEVICES; a process uses one of them.
int devices() {
    auto count = getenv("GPU_EMULATOR_DEVICES");
    return count ? atoi(count) : 1;
}

} // namespace

#define NEEDS_CONTEXT \
    if (!current_context) return invalid_context
// What waits, or takes memory outside the stream's order, cannot be recorded.
#define NOT_RECORDED(CALL) \
    if (auto graph = recorded_by_this_thread()) return refuse_in_recording(graph, CALL)

// --- Device and context -----------------------------------------------------------------------------

EXPORT int cuInit(unsigned) {
    load_kernels();
    return success;
}
EXPORT int cuDriverGetVersion(int *version) { return *version = 13000, success; }
EXPORT int cuDeviceGetCount(int *count) { return *count = devices(), success; }
EXPORT int cuDeviceGet(int *device, int ordinal) {
    if (ordinal < 0 || ordinal >= devices()) return invalid_device;
    return *device = ordinal, success;
}
EXPORT int cuDeviceGetName(char *name, int length, int) { return snprintf(name, length, "emulated GPU"), success; }
EXPORT int cuDeviceGetUuid(char *uuid, int device) { return memset(uuid, 0xE0 + device, 16), success; }
EXPORT int cuDeviceGetUuid_v2(char *uuid, int device) { return cuDeviceGetUuid(uuid, device); }
EXPORT int cuDeviceTotalMem_v2(size_t *bytes, int) { return *bytes = memory_of_device, success; }
EXPORT int cuDeviceGetAttribute(int *value, int attribute, int) {
    switch (attribute) {
    case 1: *value = largest_block; break;           // MAX_THREADS_PER_BLOCK
    case 2: case 3: *value = 1024; break;            // MAX_BLOCK_DIM_X, Y
    case 4: *value = 64; break;                      // MAX_BLOCK_DIM_Z
    case 5: *value = 0x7FFFFFFF; break;              // MAX_GRID_DIM_X
    case 6: case 7: *value = 65535; break;           // MAX_GRID_DIM_Y, Z
    case 8: *value = 48 << 10; break;                // MAX_SHARED_MEMORY_PER_BLOCK
    case 10: *value = 32; break;                     // WARP_SIZE
    case 12: *value = 65536; break;                  // MAX_REGISTERS_PER_BLOCK
    case 13: *value = 1980000; break;                // CLOCK_RATE
    case 16: *value = 132; break;                    // MULTIPROCESSOR_COUNT
    case 38: *value = 50 << 20; break;               // L2_CACHE_SIZE
    case 39: *value = 2048; break;                   // MAX_THREADS_PER_MULTIPROCESSOR
    case 40: case 41: *value = 1; break;             // ASYNC_ENGINE_COUNT, UNIFIED_ADDRESSING
    case 75: *value = compute_capability[0]; break;
    case 76: *value = compute_capability[1]; break;
    case 81: *value = 228 << 10; break;              // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
    case 95: *value = 1; break;                      // COOPERATIVE_LAUNCH
    case 97: *value = 227 << 10; break;              // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    case 115: *value = !fault("pools"); break;       // MEMORY_POOLS_SUPPORTED
    default: *value = 0;
    }
    return success;
}
EXPORT int cuDevicePrimaryCtxRetain(void **context, int) { return *context = &primary_context, success; }
EXPORT int cuDevicePrimaryCtxRelease_v2(int) { return success; }
EXPORT int cuCtxGetCurrent(void **context) { return *context = current_context, success; }
EXPORT int cuCtxSetCurrent(void *context) { return current_context = context, success; }
EXPORT int cuCtxSetFlags(unsigned) { return success; }
EXPORT int cuCtxGetStreamPriorityRange(int *least, int *greatest) { return *least = 0, *greatest = -5, success; }
EXPORT int cuCtxSynchronize() {
    NEEDS_CONTEXT;
    NOT_RECORDED("cuCtxSynchronize");
    finish_all();
    check_margins();
    return success;
}

EXPORT int cuGetErrorName(int error, const char **name) {
    switch (error) {
    case success: *name = "CUDA_SUCCESS"; break;
    case invalid_value: *name = "CUDA_ERROR_INVALID_VALUE"; break;
    case out_of_memory: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case invalid_device: *name = "CUDA_ERROR_INVALID_DEVICE"; break;
    case invalid_context: *name = "CUDA_ERROR_INVALID_CONTEXT"; break;
    case invalid_handle: *name = "CUDA_ERROR_INVALID_HANDLE"; break;
    case not_found: *name = "CUDA_ERROR_NOT_FOUND"; break;
    case not_supported: *name = "CUDA_ERROR_NOT_SUPPORTED"; break;
    case recording_unsupported: *name = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"; break;
    case recording_void: *name = "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"; break;
    default: return *name = nullptr, invalid_value;
    }
    return success;
}
EXPORT int cuGetErrorString(int error, const char **text) { return cuGetErrorName(error, text); }

// --- Memory -----------------------------------------------------------------------------------------

EXPORT int cuMemAlloc_v2(void **start, size_t bytes) {
    NEEDS_CONTEXT;
    NOT_RECORDED("cuMemAlloc");
    if (bytes == 0) return invalid_value;
    return (*start = allocate(bytes)) ? success : out_of_memory;
}
EXPORT int cuMemFree_v2(void *start) {
    NEEDS_CONTEXT;
    NOT_RECORDED("cuMemFree");
    finish_all();
    if (start) release(start);
    return success;
}
EXPORT int cuMemAllocAsync(void **start, size_t bytes, void *stream) {
    if (fault("pools")) return not_supported;
    NEEDS_CONTEXT;
    auto order = stream_of(stream);
    if (bytes == 0) return *start = nullptr, success;
    if (auto graph = recorded_by(order)) {
        if (!graph->broken.empty()) return recording_void;
        return (*start = allocate_in_graph(order, bytes)) ? success : out_of_memory;
    }
    return (*start = allocate(bytes)) ? success : out_of_memory;
}
EXPORT int cuMemFreeAsync(void *start, void *stream) {
    NEEDS_CONTEXT;
    if (!start) return success;
    auto order = stream_of(stream);
    if (auto graph = recorded_by(order)) {
        if (release_in_graph(order, start)) return success;
        refuse_in_recording(graph, "cuMemFreeAsync of memory from outside");
        return invalid_value;
    }
    if (is_of_a_graph(start)) {
        fprintf(stderr, "gpu emulator: memory of a graph is released outside of it\n");
        return invalid_value;
    }
    release_later(start);
    enqueue(order, [start] { release(start); });
    return success;
}
EXPORT int cuMemGetInfo_v2(size_t *free, size_t *total) {
    NEEDS_CONTEXT;
    *total = memory_of_device;
    *free = memory_of_device - bytes_in_use();
    return success;
}

EXPORT int cuMemHostAlloc(void **start, size_t bytes, unsigned) {
    NEEDS_CONTEXT;
    NOT_RECORDED("cuMemHostAlloc");
    if (bytes == 0) return invalid_value;
    *start = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*start) return out_of_memory;
    memset(*start, 0xFF, bytes);
    std::lock_guard lock(pinned_mutex);
    pinned[(uintptr_t)*start] = bytes;
    return success;
}
EXPORT int cuMemFreeHost(void *start) {
    NEEDS_CONTEXT;
    finish_all();
    std::lock_guard lock(pinned_mutex);
    if (!pinned.erase((uintptr_t)start)) return invalid_value;
    free(start);
    return success;
}

EXPORT int cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t bytes, void *stream) {
    NEEDS_CONTEXT;
    check_range(to, bytes, "copy from the host");
    log("copy of " + std::to_string(bytes) + " bytes from the host");
    if (is_pinned(from) || recorded_by(stream_of(stream))) {
        // The device reads it when the copy runs.
        enqueue(stream_of(stream), [=] { memcpy(to, from, bytes); });
        describe_last(stream_of(stream), NodeKind::copy, true);
    } else {
        std::vector<char> staged((const char *)from, (const char *)from + bytes);
        enqueue(stream_of(stream), [=, staged = std::move(staged)] { memcpy(to, staged.data(), bytes); });
    }
    return success;
}
EXPORT int cuMemcpyDtoHAsync_v2(void *to, const void *from, size_t bytes, void *stream) {
    NEEDS_CONTEXT;
    check_range(from, bytes, "copy to the host");
    enqueue(stream_of(stream), [=] { memcpy(to, from, bytes); });
    describe_last(stream_of(stream), NodeKind::copy, false, true);
    // To pageable memory the call returns when the copy is done.
    if (!is_pinned(to) && !recorded_by(stream_of(stream))) finish(stream_of(stream));
    return success;
}
EXPORT int cuMemcpyDtoDAsync_v2(void *to, const void *from, size_t bytes, void *stream) {
    NEEDS_CONTEXT;
    check_range(to, bytes, "copy on the device, target");
    check_range(from, bytes, "copy on the device, source");
    if (to < (const char *)from + bytes && from < (const char *)to + bytes) fail("a copy on the device overlaps itself");
    enqueue(stream_of(stream), [=] { memcpy(to, from, bytes); });
    describe_last(stream_of(stream), NodeKind::copy);
    return success;
}
EXPORT int cuMemcpyHtoD_v2(void *to, const void *from, size_t bytes) {
    NOT_RECORDED("cuMemcpyHtoD");
    int result = cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr);
    finish(stream_of(nullptr));
    return result;
}
EXPORT int cuMemcpyDtoH_v2(void *to, const void *from, size_t bytes) {
    NOT_RECORDED("cuMemcpyDtoH");
    int result = cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr);
    finish(stream_of(nullptr));
    return result;
}
EXPORT int cuMemcpyDtoD_v2(void *to, const void *from, size_t bytes) { return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr); }
EXPORT int cuMemsetD8Async(void *start, unsigned char value, size_t bytes, void *stream) {
    NEEDS_CONTEXT;
    check_range(start, bytes, "memset");
    enqueue(stream_of(stream), [=] { memset(start, value, bytes); });
    describe_last(stream_of(stream), NodeKind::fill);
    return success;
}
EXPORT int cuMemsetD8_v2(void *start, unsigned char value, size_t bytes) { return cuMemsetD8Async(start, value, bytes, nullptr); }

// One pool of memory, or none.
EXPORT int cuDeviceGetDefaultMemPool(void **pool, int) {
    if (fault("pools")) return not_supported;
    return *pool = &release_threshold, success;
}
EXPORT int cuDeviceGetMemPool(void **pool, int device) { return cuDeviceGetDefaultMemPool(pool, device); }
EXPORT int cuDeviceSetMemPool(int, void *) { return success; }
EXPORT int cuMemPoolTrimTo(void *, size_t) { return success; }
EXPORT int cuMemPoolSetAttribute(void *, int attribute, void *value) {
    if (attribute == 4) memcpy(&release_threshold, value, sizeof release_threshold);
    // Setting a high-water mark to zero resets it to the present use.
    if (attribute == 6 || attribute == 8) peak_bytes_in_use() = bytes_in_use();
    return success;
}
EXPORT int cuMemPoolGetAttribute(void *, int attribute, void *value) {
    uint64_t wide;
    switch (attribute) {
    case 1: case 2: case 3: return *(int *)value = 1, success;
    case 4: wide = release_threshold; break;
    case 5: case 7: wide = bytes_in_use(); break;
    case 6: case 8: wide = peak_bytes_in_use(); break;
    default: return invalid_value;
    }
    return memcpy(value, &wide, sizeof wide), success;
}

// --- Streams and events -----------------------------------------------------------------------------

EXPORT int cuStreamCreate(void **stream, unsigned) {
    NEEDS_CONTEXT;
    return *stream = create_stream(), success;
}
EXPORT int cuStreamCreateWithPriority(void **stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
EXPORT int cuStreamDestroy_v2(void *stream) {
    NEEDS_CONTEXT;
    return destroy_stream(stream_of(stream)), success;
}
EXPORT int cuStreamSynchronize(void *stream) {
    NEEDS_CONTEXT;
    NOT_RECORDED("cuStreamSynchronize");
    finish(stream_of(stream));
    check_margins();
    return success;
}
EXPORT int cuStreamQuery(void *stream) { return cuStreamSynchronize(stream); }
EXPORT int cuStreamWaitEvent(void *stream, void *event, unsigned) {
    NEEDS_CONTEXT;
    NOT_RECORDED("cuStreamWaitEvent");
    return wait_for((Event *)event, stream_of(stream)), success;
}
EXPORT int cuLaunchHostFunc(void *stream, void (*function)(void *), void *data) {
    NEEDS_CONTEXT;
    enqueue(stream_of(stream), [=] { function(data); });
    return describe_last(stream_of(stream), NodeKind::host), success;
}

EXPORT int cuEventCreate(void **event, unsigned) {
    NEEDS_CONTEXT;
    return *event = new Event, success;
}
EXPORT int cuEventDestroy_v2(void *event) { return delete (Event *)event, success; }
EXPORT int cuEventRecord(void *event, void *stream) {
    NEEDS_CONTEXT;
    NOT_RECORDED("cuEventRecord");
    return record((Event *)event, stream_of(stream)), success;
}
EXPORT int cuEventSynchronize(void *event) {
    NOT_RECORDED("cuEventSynchronize");
    return wait_for((Event *)event), success;
}
EXPORT int cuEventQuery(void *event) { return cuEventSynchronize(event); }
EXPORT int cuEventElapsedTime(float *milliseconds, void *start, void *end) {
    auto first = (Event *)start, last = (Event *)end;
    if (!first->stream || !last->stream) return invalid_handle;
    wait_for(first);
    wait_for(last);
    *milliseconds = std::chrono::duration<float, std::milli>(*last->time - *first->time).count();
    return success;
}
EXPORT int cuEventElapsedTime_v2(float *milliseconds, void *start, void *end) { return cuEventElapsedTime(milliseconds, start, end); }

// --- Modules and launches ---------------------------------------------------------------------------

EXPORT int cuModuleLoadData(void **module, const void *) {
    NEEDS_CONTEXT;
    NOT_RECORDED("cuModuleLoadData");
    return *module = new Module, success;
}
EXPORT int cuModuleLoadDataEx(void **module, const void *image, unsigned, void *, void *) { return cuModuleLoadData(module, image); }
EXPORT int cuModuleUnload(void *module) { return delete (Module *)module, success; }
EXPORT int cuModuleGetFunction(void **function, void *, const char *name) {
    NEEDS_CONTEXT;
    auto kernel = find_kernel(name);
    if (!kernel) {
        fprintf(stderr, "gpu emulator: there is no kernel %s\n", name);
        return not_found;
    }
    // One per kernel is enough.
    static std::mutex mutex;
    static auto &functions = *new std::map<const Kernel *, Function>;
    std::lock_guard lock(mutex);
    *function = &functions.emplace(kernel, Function{kernel}).first->second;
    return success;
}
EXPORT int cuFuncGetAttribute(int *value, int attribute, void *function) {
    // MAX_THREADS_PER_BLOCK; sizes are not known.
    *value = attribute == 0 ? max_threads_of(((Function *)function)->kernel) : 0;
    return success;
}
EXPORT int cuFuncSetAttribute(void *, int, int) { return success; }
EXPORT int cuFuncSetCacheConfig(void *, int) { return success; }
EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *, int threads, size_t) {
    return *blocks = std::max(1, 2048 / std::max(threads, 1)), success;
}

EXPORT int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                          unsigned block_z, unsigned shared_bytes, void *stream, void **arguments, void **) {
    NEEDS_CONTEXT;
    auto kernel = ((Function *)function)->kernel;
    auto refuse = [&](const char *why) {
        fprintf(stderr, "gpu emulator: launch of %s<%ux%ux%u, %ux%ux%u> refused: %s\n", name_of(kernel), grid_x, grid_y, grid_z,
                block_x, block_y, block_z, why);
        return invalid_value;
    };
    if (!grid_x || !grid_y || !grid_z) return refuse("an empty grid");
    if (grid_x > 0x7FFFFFFF || grid_y > 65535 || grid_z > 65535) return refuse("too many blocks");
    if (!block_x || !block_y || !block_z) return refuse("an empty block");
    if (block_y > 1024 || block_z > 64) return refuse("too large a block");
    if ((uint64_t)block_x * block_y * block_z > max_threads_of(kernel)) return refuse("more threads than __launch_bounds__ (1024 without)");
    if (shared_bytes) return refuse("dynamic shared memory is not emulated");
    log(std::string("launch ") + name_of(kernel) + " " + std::to_string(grid_x) + "x" + std::to_string(grid_y) + "x" +
        std::to_string(grid_z) + " blocks of " + std::to_string(block_x) + "x" + std::to_string(block_y) + "x" + std::to_string(block_z));
    auto graph = recorded_by(stream_of(stream));
    if (graph && !graph->broken.empty()) return recording_void;
    launch(kernel, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, arguments, stream_of(stream));
    return success;
}

// --- Graphs -----------------------------------------------------------------------------------------

EXPORT int cuStreamBeginCapture_v2(void *stream, int mode) {
    NEEDS_CONTEXT;
    if (fault("capture")) return not_supported;
    // THREAD_LOCAL: other threads go on, and this one must not wait for the device.
    if (mode != 1 || recorded_by_this_thread() || recorded_by(stream_of(stream))) return invalid_value;
    return begin_recording(stream_of(stream)), success;
}
EXPORT int cuStreamIsCapturing(void *stream, int *status) {
    auto graph = recorded_by(stream_of(stream));
    return *status = !graph ? 0 : graph->broken.empty() ? 1 : 2, success;
}
EXPORT int cuStreamEndCapture(void *stream, Graph **made) {
    NEEDS_CONTEXT;
    if (!recorded_by(stream_of(stream))) return invalid_value;
    auto graph = end_recording(stream_of(stream));
    log("graph of " + std::to_string(graph->nodes.size()) + " nodes and " + std::to_string(graph->footprint) + " bytes" +
        (graph->broken.empty() ? "" : ", void because of " + graph->broken));
    if (graph->broken.empty()) return *made = graph, success;
    return destroy_graph(graph), *made = nullptr, recording_void;
}
EXPORT int cuGraphInstantiateWithFlags(Graph **executable, Graph *graph, unsigned long long flags) {
    if (flags) return not_supported;
    if (fault("instantiate")) return out_of_memory;
    return *executable = graph, success;
}
EXPORT int cuGraphUpload(Graph *, void *) { return success; }
EXPORT int cuGraphLaunch(Graph *graph, void *stream) {
    NEEDS_CONTEXT;
    NOT_RECORDED("cuGraphLaunch");
    // Memory that the graph leaves to others would have to be released before it runs again.
    if (graph->living) return invalid_value;
    log("launch of a graph of " + std::to_string(graph->nodes.size()) + " nodes");
    return launch_graph(*graph, stream_of(stream)), success;
}
// A graph lives as long as what was made of it, which the program destroys first.
EXPORT int cuGraphExecDestroy(Graph *) { return finish_all(), success; }
EXPORT int cuGraphDestroy(Graph *graph) { return destroy_graph(graph), success; }
EXPORT int cuGraphGetNodes(Graph *graph, Node **nodes, size_t *count) {
    if (!nodes) return *count = graph->nodes.size(), success;
    *count = std::min(*count, graph->nodes.size());
    for (size_t i = 0; i < *count; ++i) nodes[i] = &graph->nodes[i];
    return success;
}
EXPORT int cuGraphNodeGetType(Node *node, int *kind) { return *kind = (int)node->kind, success; }
EXPORT int cuGraphMemcpyNodeGetParams_v2(Node *node, void *parameters) {
    if (node->kind != NodeKind::copy) return invalid_value;
    // Of the description of 200 bytes, the types of memory alone.
    enum : int { host = 1, on_device = 2 };
    memset(parameters, 0, 200);
    *(int *)((char *)parameters + 32) = node->from_host ? host : on_device;
    *(int *)((char *)parameters + 120) = node->to_host ? host : on_device;
    return success;
}
EXPORT int cuGraphMemcpyNodeGetParams(Node *node, void *parameters) { return cuGraphMemcpyNodeGetParams_v2(node, parameters); }
EXPORT int cuDeviceGraphMemTrim(int) { return success; }
// The graphs' memory: used at most.
EXPORT int cuDeviceGetGraphMemAttribute(int, int attribute, void *value) {
    uint64_t bytes = peak_bytes_of_graphs();
    if (attribute != 1) return invalid_value;
    return memcpy(value, &bytes, sizeof bytes), success;
}
EXPORT int cuProfilerStart() { return success; }
EXPORT int cuProfilerStop() { return success; }
