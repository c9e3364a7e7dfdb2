// Device memory: host memory in which every access past an allocation's end faults.

#include "emulator.hpp"
#include "graphs.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

namespace emulator {

namespace {

// pages that fault | margin | data | up to 15 bytes of margin | a page that faults
struct Allocation {
    size_t bytes;
    uint8_t *mapping;
    size_t mapping_bytes;
    // Freed by the host. Work enqueued earlier may still use it.
    bool given_back = false;
    bool counted = true;
};

constexpr uint8_t margin_byte = 0xA5;
constexpr size_t checked_margin = 64;
constexpr size_t alignment = 16;
// Freed allocations whose addresses keep faulting, so that a use after the release is detected.
constexpr size_t quarantine_length = 4096;

std::recursive_mutex mutex;
auto &allocations = *new std::map<uintptr_t, Allocation>;
auto &quarantine = *new std::deque<std::pair<uint8_t *, size_t>>;
size_t in_use = 0;
size_t peak = 0;
thread_local std::vector<Use> *uses = nullptr;

size_t page() {
    static const size_t size = sysconf(_SC_PAGESIZE);
    return size;
}

size_t rounded_up(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

using Entry = std::map<uintptr_t, Allocation>::const_iterator;

void give_back(Allocation &allocation) {
    if (!allocation.given_back && allocation.counted) in_use -= allocation.bytes;
    allocation.given_back = true;
}

// The living allocation that starts last at or before an address.
Entry before(uintptr_t address) {
    auto entry = allocations.upper_bound(address);
    return entry == allocations.begin() ? allocations.end() : std::prev(entry);
}

void check_margin(uintptr_t start, const Allocation &allocation) {
    auto data = (const uint8_t *)start;
    const uint8_t *first = allocation.mapping + page();
    first = std::max(first, data - std::min<size_t>(checked_margin, data - first));
    for (auto byte = first; byte < data; ++byte)
        if (*byte != margin_byte)
            fail("written %td bytes before an allocation of %zu bytes", data - byte, allocation.bytes);
    const uint8_t *end = allocation.mapping + allocation.mapping_bytes - page();
    for (auto byte = data + allocation.bytes; byte < end; ++byte)
        if (*byte != margin_byte)
            fail("written %td bytes past the end of an allocation of %zu bytes",
                 byte - data - allocation.bytes + 1, allocation.bytes);
}

} // namespace

bool setting(const char *name) {
    const char *value = getenv(name);
    return value && *value && strcmp(value, "0") != 0;
}

bool fault(const std::string &name) {
    const char *value = getenv("GPU_EMULATOR_FAULTS");
    return value && ("," + std::string(value) + ",").find("," + name + ",") != std::string::npos;
}

void *allocate(size_t bytes, bool counted) {
    size_t data = rounded_up(std::max<size_t>(bytes, 1), alignment);
    size_t pages = rounded_up(data, page());
    size_t length = pages + 2 * page();
    auto mapping = (uint8_t *)mmap(nullptr, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED || mprotect(mapping + page(), pages, PROT_READ | PROT_WRITE) != 0) return nullptr;
    uint8_t *start = mapping + page() + pages - data;
    memset(mapping + page(), margin_byte, start - mapping - page());
    memset(start, 0xFF, bytes);
    memset(start + bytes, margin_byte, data - bytes);

    std::lock_guard lock(mutex);
    allocations[(uintptr_t)start] = {bytes, mapping, length, false, counted};
    if (counted) in_use += bytes;
    peak = std::max(peak, in_use);
    return start;
}

void release_later(void *start) {
    std::lock_guard lock(mutex);
    auto entry = allocations.find((uintptr_t)start);
    if (entry == allocations.end() || entry->second.given_back) fail("release of %p, which is %s", start, describe(start).c_str());
    give_back(entry->second);
}

void release(void *start) {
    std::lock_guard lock(mutex);
    auto entry = allocations.find((uintptr_t)start);
    if (entry == allocations.end()) fail("release of %p, which is %s", start, describe(start).c_str());
    give_back(entry->second);
    check_margin(entry->first, entry->second);
    auto [mapping, length] = std::pair(entry->second.mapping, entry->second.mapping_bytes);
    allocations.erase(entry);
    // A fresh mapping in the same place gives the memory back and keeps the addresses.
    mmap(mapping, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    quarantine.emplace_back(mapping, length);
    if (quarantine.size() > quarantine_length) {
        auto [oldest, oldest_length] = quarantine.front();
        quarantine.pop_front();
        munmap(oldest, oldest_length);
    }
}

void check_range(const void *start, size_t bytes, const char *what) {
    if (bytes == 0) return;
    std::lock_guard lock(mutex);
    if (uses) uses->push_back({start, bytes});
    auto address = (uintptr_t)start;
    auto entry = before(address);
    if (entry == allocations.end() || address - entry->first >= entry->second.bytes)
        fail("%s: %zu bytes at %p, which is %s", what, bytes, start, describe(start).c_str());
    if (entry->second.given_back) fail("%s: an allocation of %zu bytes that has been released", what, entry->second.bytes);
    size_t room = entry->second.bytes - (address - entry->first);
    if (bytes > room)
        fail("%s: %zu bytes, but an allocation of %zu bytes has only %zu left there", what, bytes,
             entry->second.bytes, room);
}

bool is_device_address(const void *address) {
    if (!address) return true;
    std::lock_guard lock(mutex);
    auto entry = before((uintptr_t)address);
    if (uses && entry != allocations.end()) uses->push_back({(const void *)entry->first, entry->second.bytes});
    return entry != allocations.end() && !entry->second.given_back && (uintptr_t)address - entry->first <= entry->second.bytes;
}

void note_uses(std::vector<Use> *to) { uses = to; }

void check_margins() {
    std::lock_guard lock(mutex);
    for (auto &[start, allocation] : allocations) check_margin(start, allocation);
}

std::string describe(const void *address) {
    std::lock_guard lock(mutex);
    auto at = (uintptr_t)address;
    char text[160];
    auto entry = before(at);
    if (entry != allocations.end()) {
        auto &[start, allocation] = *entry;
        if (at - start < allocation.bytes)
            snprintf(text, sizeof text, "%zu bytes into an allocation of %zu bytes%s", (size_t)(at - start),
                     allocation.bytes, allocation.given_back ? ", released before" : "");
        else if (at < (uintptr_t)allocation.mapping + allocation.mapping_bytes)
            snprintf(text, sizeof text, "%zu bytes past the end of an allocation of %zu bytes",
                     (size_t)(at - start - allocation.bytes), allocation.bytes);
        else
            entry = allocations.end();
        if (entry != allocations.end()) return text;
    }
    auto next = allocations.upper_bound(at);
    if (next != allocations.end() && at >= (uintptr_t)next->second.mapping) {
        snprintf(text, sizeof text, "%zu bytes before an allocation of %zu bytes", (size_t)(next->first - at),
                 next->second.bytes);
        return text;
    }
    for (auto &[mapping, length] : quarantine)
        if (at >= (uintptr_t)mapping && at < (uintptr_t)mapping + length) return "in memory released before";
    return "not memory of the device";
}

size_t bytes_in_use() {
    std::lock_guard lock(mutex);
    return in_use;
}

size_t &peak_bytes_in_use() { return peak; }

} // namespace emulator
