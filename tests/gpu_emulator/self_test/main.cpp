// Checks the emulator by itself: that it computes, and that it finds mistakes. Run by
// `scripts/gpu_emulator.sh DIR --self-test`.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

extern "C" {
int cuInit(unsigned);
int cuDevicePrimaryCtxRetain(void **, int);
int cuCtxSetCurrent(void *);
int cuModuleLoadData(void **, const void *);
int cuModuleGetFunction(void **, void *, const char *);
int cuLaunchKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);
int cuStreamCreate(void **, unsigned);
int cuStreamSynchronize(void *);
int cuStreamWaitEvent(void *, void *, unsigned);
int cuEventCreate(void **, unsigned);
int cuEventRecord(void *, void *);
int cuMemAllocAsync(void **, size_t, void *);
int cuMemFreeAsync(void *, void *);
int cuMemHostAlloc(void **, size_t, unsigned);
int cuMemcpyHtoDAsync_v2(void *, const void *, size_t, void *);
int cuMemcpyDtoHAsync_v2(void *, const void *, size_t, void *);
int cuMemsetD8Async(void *, unsigned char, size_t, void *);
int cuStreamBeginCapture_v2(void *, int);
int cuStreamEndCapture(void *, void **);
int cuGraphInstantiateWithFlags(void **, void *, unsigned long long);
int cuGraphLaunch(void *, void *);
int cuGraphGetNodes(void *, void **, size_t *);
int cuGraphNodeGetType(void *, int *);
}

namespace {

void *stream, *module;
int failures = 0;

void check(bool holds, const char *what) {
    printf("%s: %s\n", holds ? "ok" : "FAILED", what);
    failures += !holds;
}

void *allocate(size_t bytes) {
    void *memory;
    if (cuMemAllocAsync(&memory, bytes, stream) != 0) abort();
    return memory;
}

template <typename T>
T *upload(const std::vector<T> &values) {
    auto memory = (T *)allocate(values.size() * sizeof(T));
    cuMemcpyHtoDAsync_v2(memory, values.data(), values.size() * sizeof(T), stream);
    return memory;
}

template <typename T>
std::vector<T> download(const T *memory, size_t count) {
    std::vector<T> values(count);
    cuMemcpyDtoHAsync_v2(values.data(), memory, count * sizeof(T), stream);
    return values;
}

template <typename... Arguments>
int launch(const char *name, unsigned blocks, unsigned threads, Arguments... arguments) {
    void *function;
    if (int status = cuModuleGetFunction(&function, module, name)) return status;
    void *pointers[] = {&arguments...};
    return cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, stream, pointers, nullptr);
}

// In a process of its own, whose last words must have `words` in them.
void check_refused(const char *what, const char *words, const std::function<void()> &mistake) {
    int ends[2];
    if (pipe(ends) != 0) abort();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        // Fork keeps no other thread: one processor does all the work.
        mistake();
        cuStreamSynchronize(stream);
        _exit(0);
    }
    close(ends[1]);
    std::string said;
    char part[4096];
    for (ssize_t length; (length = read(ends[0], part, sizeof part)) > 0;) said.append(part, length);
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    bool found = WIFSIGNALED(status) && said.find(words) != std::string::npos;
    check(found, what);
    if (!found) fprintf(stderr, "  it said: %s\n", said.c_str());
}

} // namespace

// The graph of `work`, or null if it cannot be recorded.
void *recorded(const std::function<void()> &work) {
    void *graph = nullptr, *executable = nullptr;
    if (cuStreamBeginCapture_v2(stream, 1) != 0) abort();
    work();
    if (cuStreamEndCapture(stream, &graph) != 0 || cuGraphInstantiateWithFlags(&executable, graph, 0) != 0) return nullptr;
    return executable;
}

int main() {
    void *context;
    cuInit(0);
    cuDevicePrimaryCtxRetain(&context, 0);
    cuCtxSetCurrent(context);
    cuStreamCreate(&stream, 1);
    cuModuleLoadData(&module, "");

    std::vector<float> values(1001);
    float total = 0;
    for (size_t i = 0; i < values.size(); ++i) total += values[i] = (float)(i % 7);
    float *memory = upload(values);

    // Before anything runs on other threads: the children have none.
    check_refused("a write past the end", "past the end of an allocation of 4004 bytes", [&] { launch("mistake_write_past_end", 1, 32, memory, 1001u); });
    check_refused("a read past the end", "past the end of an allocation of 4004 bytes", [&] { launch("mistake_read_past_end", 1, 32, memory, memory, 1001u); });
    check_refused("a barrier that some threads do not reach", "divergent barrier", [&] { launch("mistake_divergent_barrier", 1, 64, memory); });
    check_refused("an exchange that half a warp does not reach", "divergent barrier", [&] { launch("mistake_half_a_warp", 1, 64, memory); });
    check_refused("an index past shared memory", "undefined behaviour", [&] { launch("mistake_shared_index", 1, 8, memory); });
    check_refused("an unaligned access", "undefined behaviour", [&] { launch("mistake_unaligned", 1, 8, memory, memory); });
    check_refused("a pointer that is none", "argument 0", [&] { launch("test_double", 1, 8, (uintptr_t)64, 8u); });
    check_refused("memory used after its release", "released before", [&] {
        cuMemFreeAsync(memory, stream);
        launch("test_double", 1, 8, memory, 8u);
    });
    auto doubled = recorded([&] { launch("test_double", 1, 32, memory, 4u); });
    check_refused("a graph that outlives the memory it uses", "released before", [&] {
        cuMemFreeAsync(memory, stream);
        cuStreamSynchronize(stream);
        cuGraphLaunch(doubled, stream);
    });
    auto copying = recorded([&] { cuMemcpyHtoDAsync_v2(memory, values.data(), 16, stream); });
    check_refused("a graph that copies from the host", "copies from memory of the host", [&] { cuGraphLaunch(copying, stream); });
    check_refused("memory of a graph used after its release", "released before", [&] {
        recorded([&] {
            auto inside = (float *)allocate(16);
            cuMemFreeAsync(inside, stream);
            launch("test_double", 1, 32, inside, 1u);
        });
    });
    check_refused("a copy past the end", "has only 4004 left", [&] { cuMemcpyHtoDAsync_v2(memory, values.data(), 4005, stream); });

    auto sum = (float *)allocate(4);
    check(launch("test_block_sum", 1, 256, memory, sum, 1001u) == 0 && download(sum, 1)[0] == total, "a sum through shuffles and shared memory");
    check(launch("test_block_sum", 1, 512, memory, sum, 1001u) != 0, "more threads than __launch_bounds__ are refused");
    check(launch("no_such_kernel", 1, 1) == 500, "an unknown kernel is not found");
    auto counts = (unsigned *)allocate(28);
    cuMemsetD8Async(counts, 0, 28, stream);
    launch("test_histogram_f32", 4, 256, memory, counts, 1001u);
    check(download(counts, 7) == std::vector<unsigned>{143, 143, 143, 143, 143, 143, 143}, "atomics over blocks");
    launch("mistake_missing_barrier", 1, 64, memory);
    check(std::isnan(download(memory, 64)[0]) || std::isnan(download(memory, 64)[63]), "a missing barrier shows");
    auto fresh = (float *)allocate(12);
    check(std::isnan(download(fresh, 3)[2]), "fresh memory is no number");

    // Graphs.
    auto numbers = upload(std::vector<float>{1, 2, 3, 4});
    auto graph = recorded([&] {
        auto inside = (float *)allocate(16);
        cuMemsetD8Async(inside, 0, 16, stream);
        launch("test_double", 1, 32, numbers, 1u);
        cuMemFreeAsync(inside, stream);
    });
    check(download(numbers, 4)[3] == 4, "recording runs nothing");
    cuGraphLaunch(graph, stream);
    cuGraphLaunch(graph, stream);
    check(download(numbers, 4)[3] == 16, "a graph runs as often as it is launched");
    void *nodes[8];
    size_t count = 8;
    cuGraphGetNodes(graph, nodes, &count);
    std::vector<int> kinds(count);
    for (size_t i = 0; i < count; ++i) cuGraphNodeGetType(nodes[i], &kinds[i]);
    check(kinds == std::vector<int>{10, 2, 0, 11}, "a graph tells its nodes");
    check(!recorded([] { cuStreamSynchronize(stream); }), "a wait cannot be recorded");
    check(!recorded([&] { cuMemFreeAsync(numbers, stream); }), "nor the release of memory from outside");
    auto keeping = recorded([] { allocate(16); });
    check(cuGraphLaunch(keeping, stream) != 0, "a graph that keeps memory does not run");

    // Asynchrony.
    void *other, *event;
    float *pinned;
    cuStreamCreate(&other, 1);
    cuEventCreate(&event, 2);
    cuMemHostAlloc((void **)&pinned, 16, 0);
    auto four = upload(std::vector<float>{1, 2, 3, 4});
    pinned[0] = 0;
    cuMemcpyDtoHAsync_v2(pinned, four, 16, stream);
    check(pinned[0] == 0, "a copy to pinned memory is not there before somebody waits");
    cuStreamSynchronize(stream);
    check(pinned[0] == 1, "and there after");
    launch("test_double", 1, 32, (float *)four, 1u);
    cuMemcpyDtoHAsync_v2(pinned, four, 16, other);
    cuStreamSynchronize(other);
    check(pinned[0] == 1, "a stream does not wait for another by itself");
    cuEventRecord(event, stream);
    cuStreamWaitEvent(other, event, 0);
    cuMemcpyDtoHAsync_v2(pinned, four, 16, other);
    cuStreamSynchronize(other);
    check(pinned[0] == 2, "but for its event");
    return failures != 0;
}
