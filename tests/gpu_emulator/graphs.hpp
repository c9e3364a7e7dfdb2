// Graphs: work that a stream records instead of running it, and that can run many times.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace emulator {

struct Stream;

enum class NodeKind : int { kernel = 0, copy = 1, fill = 2, host = 3, allocation = 10, release = 11 };

struct Node {
    NodeKind kind;
    std::function<void()> work;
    // Of a copy: where it reads and writes.
    bool from_host = false, to_host = false;
};

// Memory outside the graph that its work uses.
struct Use {
    const void *start;
    size_t bytes;
};

struct Graph {
    std::deque<Node> nodes;
    // The graph's own memory: start, bytes, and whether it is not released yet.
    struct Own {
        size_t bytes;
        bool living;
    };
    std::map<void *, Own> memory;
    std::vector<Use> uses;
    // The present and the largest number of bytes that live at once.
    size_t living = 0, footprint = 0;
    // Why the recording is void.
    std::string broken;
};

// Whether the calling thread records, and the graph.
Graph *recorded_by_this_thread();
// Whether a stream records, and the graph.
Graph *recorded_by(Stream *stream);
// The call cannot be part of the recording, which becomes void.
int refuse_in_recording(Graph *graph, const char *call);

void begin_recording(Stream *stream);
Graph *end_recording(Stream *stream);

// Says more about the work that was recorded last.
void describe_last(Stream *stream, NodeKind kind, bool from_host = false, bool to_host = false);
void *allocate_in_graph(Stream *stream, size_t bytes);
// Whether the graph has this memory, which it may use no longer.
bool release_in_graph(Stream *stream, void *start);
// Whether a graph that exists has this memory.
bool is_of_a_graph(const void *start);

// Enqueues a graph's work. Ends the process if memory that it uses does not exist any more.
void launch_graph(const Graph &graph, Stream *stream);
// Waits for the work, and frees the memory.
void destroy_graph(Graph *graph);
// The largest footprint of a graph that ran.
size_t peak_bytes_of_graphs();

} // namespace emulator
