// Graphs: work that a stream records, to run it many times.
//
// A recording fixes addresses. Each launch checks that the memory outside the graph still exists, and
// the graph's own memory is full of NaNs before it is first written and after its release. So a graph
// that outlives what it reads is found, as is a result that is kept in memory of the graph.

#include "graphs.hpp"
#include "emulator.hpp"
#include "streams.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

namespace emulator {

namespace {

thread_local Graph *recorded = nullptr;
auto &owners = *new std::map<uintptr_t, std::pair<uintptr_t, const Graph *>>;
size_t peak = 0;

void spoil(void *start, size_t bytes) { memset(start, 0xFF, bytes); }

} // namespace

Graph *recorded_by_this_thread() { return recorded; }

Graph *recorded_by(Stream *stream) {
    std::lock_guard lock(device());
    return stream->recording;
}

int refuse_in_recording(Graph *graph, const char *call) {
    fprintf(stderr, "gpu emulator: %s while a graph is recorded\n", call);
    graph->broken = call;
    return 900; // STREAM_CAPTURE_UNSUPPORTED
}

void begin_recording(Stream *stream) {
    std::lock_guard lock(device());
    recorded = stream->recording = new Graph;
    note_uses(&recorded->uses);
}

Graph *end_recording(Stream *stream) {
    std::lock_guard lock(device());
    note_uses(nullptr);
    recorded = nullptr;
    return std::exchange(stream->recording, nullptr);
}

void describe_last(Stream *stream, NodeKind kind, bool from_host, bool to_host) {
    std::lock_guard lock(device());
    if (!stream->recording) return;
    auto &node = stream->recording->nodes.back();
    node.kind = kind;
    node.from_host = from_host;
    node.to_host = to_host;
}

void *allocate_in_graph(Stream *stream, size_t bytes) {
    std::lock_guard lock(device());
    auto graph = stream->recording;
    void *start = allocate(bytes, false);
    if (!start) return nullptr;
    graph->memory[start] = {bytes, true};
    owners[(uintptr_t)start] = {(uintptr_t)start + std::max<size_t>(bytes, 1), graph};
    graph->living += bytes;
    graph->footprint = std::max(graph->footprint, graph->living);
    enqueue(stream, [=] { spoil(start, bytes); });
    describe_last(stream, NodeKind::allocation);
    return start;
}

bool release_in_graph(Stream *stream, void *start) {
    std::lock_guard lock(device());
    auto graph = stream->recording;
    auto own = graph->memory.find(start);
    if (own == graph->memory.end() || !own->second.living) return false;
    own->second.living = false;
    graph->living -= own->second.bytes;
    release_later(start);
    enqueue(stream, [start, bytes = own->second.bytes] { spoil(start, bytes); });
    describe_last(stream, NodeKind::release);
    return true;
}

bool is_of_a_graph(const void *start) {
    std::lock_guard lock(device());
    auto next = owners.upper_bound((uintptr_t)start);
    return next != owners.begin() && (uintptr_t)start < std::prev(next)->second.first;
}

void launch_graph(const Graph &graph, Stream *stream) {
    std::lock_guard lock(device());
    for (auto &[start, bytes] : graph.uses)
        if (!is_of_a_graph(start)) check_range(start, bytes, "a graph is launched that uses");
    bool left_out = !fault("replay");
    for (auto &node : graph.nodes) {
        if (node.from_host) fail("a graph is launched that copies from memory of the host");
        if (node.kind == NodeKind::kernel && !std::exchange(left_out, true)) continue;
        enqueue(stream, node.work);
    }
    peak = std::max(peak, graph.footprint);
}

void destroy_graph(Graph *graph) {
    finish_all();
    std::lock_guard lock(device());
    for (auto &[start, own] : graph->memory) {
        owners.erase((uintptr_t)start);
        release(start);
    }
    delete graph;
}

size_t peak_bytes_of_graphs() { return peak; }

} // namespace emulator
