// Streams, events and the driver's other handles that order work.
//
// Work runs as late as possible: when the host waits for its stream or event, or when work that waits
// for it runs. A result read without waiting is then missing, and two streams that ought to be
// ordered by an event but are not run in the wrong order.

#include "streams.hpp"
#include "emulator.hpp"
#include "graphs.hpp"

#include <algorithm>
#include <unordered_set>

namespace emulator {

std::recursive_mutex &device() {
    static auto &mutex = *new std::recursive_mutex;
    return mutex;
}

namespace {

// Part of a queue longer than this runs early, so that memory to be released does not pile up.
constexpr size_t longest_queue = 512;

auto &streams = *new std::unordered_set<Stream *>;

Stream *default_stream() {
    static auto stream = create_stream();
    return stream;
}

void run_until(Stream *stream, uint64_t position) {
    while (stream->done < position && !stream->queue.empty()) {
        auto work = std::move(stream->queue.front());
        stream->queue.pop_front();
        work();
        ++stream->done;
    }
}

} // namespace

Stream *create_stream() {
    std::lock_guard lock(device());
    auto stream = new Stream;
    streams.insert(stream);
    return stream;
}

void destroy_stream(Stream *stream) {
    std::lock_guard lock(device());
    finish(stream);
    streams.erase(stream);
    // Events may still refer to it, so the few bytes stay allocated.
}

Stream *stream_of(void *handle) {
    // Null, CU_STREAM_LEGACY and CU_STREAM_PER_THREAD.
    if ((uintptr_t)handle <= 2) return default_stream();
    std::lock_guard lock(device());
    auto stream = (Stream *)handle;
    if (!streams.count(stream)) fail("%p is no stream", handle);
    return stream;
}

void enqueue(Stream *stream, std::function<void()> work) {
    std::lock_guard lock(device());
    static const bool eager = setting("GPU_EMULATOR_EAGER");
    if (stream->recording) {
        if (stream->recording != recorded_by_this_thread()) fail("a thread uses a stream that another one records");
        stream->recording->nodes.push_back({NodeKind::kernel, std::move(work)});
        return;
    }
    stream->queue.push_back(std::move(work));
    ++stream->given;
    if (eager)
        finish(stream);
    else if (stream->queue.size() > longest_queue)
        run_until(stream, stream->done + longest_queue / 2);
}

void finish(Stream *stream) {
    std::lock_guard lock(device());
    run_until(stream, stream->given);
}

void finish_all() {
    std::lock_guard lock(device());
    for (auto stream : streams) finish(stream);
}

void record(Event *event, Stream *stream) {
    std::lock_guard lock(device());
    event->stream = stream;
    enqueue(stream, [time = event->time] { *time = std::chrono::steady_clock::now(); });
    event->position = stream->given;
}

void wait_for(const Event *event) {
    std::lock_guard lock(device());
    if (event->stream) run_until(event->stream, event->position);
}

void wait_for(const Event *event, Stream *stream) {
    std::lock_guard lock(device());
    if (!event->stream || event->stream == stream) return;
    enqueue(stream, [other = event->stream, position = event->position] { run_until(other, position); });
}

} // namespace emulator
