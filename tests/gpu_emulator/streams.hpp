// Streams and events, for driver.cpp.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

namespace emulator {

struct Graph;

struct Stream {
    std::deque<std::function<void()>> queue;
    uint64_t given = 0;
    uint64_t done = 0;
    // Takes the stream's work while it is recorded.
    Graph *recording = nullptr;
};

struct Event {
    // Null until recorded.
    Stream *stream = nullptr;
    uint64_t position = 0;
    std::shared_ptr<std::chrono::steady_clock::time_point> time =
        std::make_shared<std::chrono::steady_clock::time_point>();
};

// Held while work is enqueued or runs: the device does one thing at a time.
std::recursive_mutex &device();

Stream *create_stream();
void destroy_stream(Stream *stream);
void record(Event *event, Stream *stream);
// Runs the work that precedes the event.
void wait_for(const Event *event);
// Lets a stream wait for the event.
void wait_for(const Event *event, Stream *stream);

} // namespace emulator
