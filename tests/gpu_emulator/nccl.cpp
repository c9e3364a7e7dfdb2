// NCCL: sums over processes of this machine, through shared memory.
//
// As NCCL's, a sum is work of a stream. It takes place when every rank's stream has come to it.

#include "emulator.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fcntl.h>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

using namespace emulator;

namespace {

enum Status : int { success = 0, system_error = 2, invalid_argument = 4 };

constexpr int type_f32 = 7, operation_sum = 0;
// Elements that travel at a time.
constexpr size_t part = 1 << 18;

// All ranks see it. Fresh shared memory is zero.
struct Meeting {
    std::atomic<int> arrived;
    std::atomic<unsigned> round;
};

struct Communicator {
    Meeting *meeting;
    float *parts; // of each rank
    int rank, size;

    // Returns when all ranks have called it. The others may be slow, but not gone.
    void meet() {
        auto round = meeting->round.load();
        if (meeting->arrived.fetch_add(1) + 1 == size) {
            meeting->arrived = 0;
            ++meeting->round;
            return;
        }
        auto limit = std::chrono::steady_clock::now() + std::chrono::minutes(5);
        while (meeting->round == round) {
            if (std::chrono::steady_clock::now() > limit) fail("NCCL: rank %d of %d waits in vain for the others", rank, size);
            std::this_thread::sleep_for(std::chrono::microseconds(20));
        }
    }

    void sum(const float *from, float *to, size_t count) {
        for (size_t start = 0; start < count; start += part) {
            auto length = std::min(part, count - start);
            std::copy_n(from + start, length, parts + rank * part);
            meet();
            for (size_t i = 0; i < length; ++i) {
                float sum = 0;
                for (int other = 0; other < size; ++other) sum += parts[other * part + i];
                to[start + i] = sum;
            }
            meet();
        }
    }
};

struct Id {
    char name[128];
};

} // namespace

EXPORT int ncclGetUniqueId(Id *id) {
    static std::atomic<int> number{0};
    snprintf(id->name, sizeof id->name, "/gpu_emulator_%d_%d", getpid(), ++number);
    return success;
}

EXPORT int ncclCommInitRank(Communicator **communicator, int size, Id id, int rank) {
    if (rank < 0 || rank >= size) return invalid_argument;
    auto file = shm_open(id.name, O_CREAT | O_RDWR, 0600);
    auto head = 4096, bytes = head + int(size * part * sizeof(float));
    if (file < 0 || ftruncate(file, bytes)) return system_error;
    auto memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) return system_error;
    *communicator = new Communicator{(Meeting *)memory, (float *)((char *)memory + head), rank, size};
    (*communicator)->meet();
    // Everyone has it.
    if (rank == 0) shm_unlink(id.name);
    return success;
}

EXPORT int ncclAllReduce(const float *from, float *to, size_t count, int type, int operation, Communicator *communicator, void *stream) {
    if (type != type_f32 || operation != operation_sum) return invalid_argument;
    check_range(from, count * sizeof(float), "NCCL");
    check_range(to, count * sizeof(float), "NCCL");
    enqueue(stream_of(stream), [=] { communicator->sum(from, to, count); });
    return success;
}

// The memory stays, because a stream may still hold a sum.
EXPORT int ncclCommAbort(Communicator *) { return success; }
EXPORT const char *ncclGetErrorString(int status) {
    switch (status) {
    case success: return "no error";
    case system_error: return "unhandled system error";
    default: return "invalid argument";
    }
}
