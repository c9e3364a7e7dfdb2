// cuDNN's graph interface, as far as graphs of one convolution need it: descriptors with attributes, which become
// tensors, a convolution, an operation, a graph, a list of kernels, a plan and the pointers of a call.

#include "convolutions.hpp"

#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <unordered_set>
#include <vector>

using namespace emulator;
using namespace emulator::convolutions;

namespace {

enum Kind : int {
    convolution_kind = 1, engine_kind = 2, configuration_kind = 3, heuristics_kind = 4, plan_kind = 5, forward_kind = 10,
    backward_filter_kind = 11, backward_data_kind = 12, graph_kind = 15, pack_kind = 16, tensor_kind = 17,
};

// Types of attributes, with the size of an element.
enum AttributeType : int {
    handle_type = 0, data_type = 1, int64_type = 3, float_type = 4, pointer_type = 6, mode_type = 7, heuristic_type = 8,
    note_type = 11, descriptor_type = 15,
};

size_t size_of_type(int type) {
    switch (type) {
    case data_type: case float_type: case mode_type: case heuristic_type: case note_type: return 4;
    case handle_type: case int64_type: case pointer_type: case descriptor_type: return 8;
    default: return 0;
    }
}

struct Attribute {
    int type;
    std::vector<uint8_t> bytes;
    template <typename T> T at(size_t index) const {
        T value;
        memcpy(&value, &bytes[index * sizeof(T)], sizeof(T));
        return value;
    }
    size_t count() const { return bytes.size() / size_of_type(type); }
};

struct Descriptor {
    Kind kind;
    bool finished = false;
    std::map<int, Attribute> attributes;
    // Of a configuration: which kernel, and for which graph.
    int engine = -1;
    const Descriptor *graph = nullptr;
};

// All that live: a use after the end is found.
auto &living = *new std::unordered_set<const void *>;

// Kernels for every convolution, best first: one that needs memory, one whose repetitions differ, one of which no plan
// can be made, and one without demands.
constexpr int engines[] = {40, 41, 42, 0};
constexpr int random_engine = 41, broken_engine = 42, hungry_engine = 40;

// Attributes that each kind needs, with their types and numbers of elements (0: any).
struct Need {
    int name, type;
    size_t count;
};
const std::map<Kind, std::vector<Need>> needs = {
    {tensor_kind, {{900, int64_type, 1}, {901, data_type, 1}, {902, int64_type, 4}, {903, int64_type, 4}, {906, int64_type, 1}}},
    {convolution_kind, {{100, data_type, 1}, {101, mode_type, 1}, {102, int64_type, 2}, {103, int64_type, 2}, {104, int64_type, 2}, {105, int64_type, 2}, {106, int64_type, 1}}},
    {forward_kind, {{700, float_type, 1}, {701, float_type, 1}, {702, descriptor_type, 1}, {703, descriptor_type, 1}, {704, descriptor_type, 1}, {705, descriptor_type, 1}}},
    {backward_data_kind, {{706, float_type, 1}, {707, float_type, 1}, {708, descriptor_type, 1}, {709, descriptor_type, 1}, {710, descriptor_type, 1}, {711, descriptor_type, 1}}},
    {backward_filter_kind, {{712, float_type, 1}, {713, float_type, 1}, {714, descriptor_type, 1}, {715, descriptor_type, 1}, {716, descriptor_type, 1}, {717, descriptor_type, 1}}},
    {graph_kind, {{800, handle_type, 1}, {801, descriptor_type, 1}}},
    {heuristics_kind, {{200, heuristic_type, 1}, {201, descriptor_type, 1}}},
    {plan_kind, {{400, handle_type, 1}, {401, descriptor_type, 1}}},
    {pack_kind, {{1000, int64_type, 3}, {1001, pointer_type, 3}, {1003, pointer_type, 1}}},
};

const Descriptor *linked(const Descriptor &descriptor, int name) { return descriptor.attributes.at(name).at<const Descriptor *>(0); }

// An operation's tensors and convolution, in the order of the first interface.
struct Work {
    Pass pass;
    Tensor x, y;
    Filter w;
    Convolution convolution;
    int64_t names[3];
};

bool is_channels_last(const Attribute &extents, const Attribute &strides) {
    auto extent = [&](int i) { return extents.at<int64_t>(i); };
    int64_t expected[] = {extent(1) * extent(2) * extent(3), 1, extent(3) * extent(1), extent(1)};
    for (int i = 0; i < 4; ++i)
        if (strides.at<int64_t>(i) != expected[i]) return false;
    return true;
}

int read_work(const Descriptor &operation, Work &work) {
    int base = operation.kind == forward_kind ? 0 : operation.kind == backward_data_kind ? 1 : 2;
    const int names[3][4] = {{704, 703, 705, 702}, {710, 709, 711, 708}, {716, 715, 717, 714}};
    work.pass = (Pass)base;
    const Descriptor *tensors[3];
    for (int i = 0; i < 3; ++i) {
        tensors[i] = linked(operation, names[base][i]);
        auto &attributes = tensors[i]->attributes;
        if (tensors[i]->kind != tensor_kind || !tensors[i]->finished) return refuse(bad_param, "an operation on what is no finished tensor");
        if (!is_channels_last(attributes.at(902), attributes.at(903))) return refuse(not_supported, "a tensor that is not channels last");
        if (attributes.at(900).at<int64_t>(0) > 16) return refuse(not_supported, "memory is aligned to 16 bytes here");
        work.names[i] = attributes.at(906).at<int64_t>(0);
    }
    auto extent = [&](int which, int axis) { return (int)tensors[which]->attributes.at(902).at<int64_t>(axis); };
    Type types[3];
    for (int i = 0; i < 3; ++i)
        if (!type_of(tensors[i]->attributes.at(901).at<int>(0), types[i])) return refuse(not_supported, "a type of elements");
    auto tensor = [&](int which) {
        int n = extent(which, 0), c = extent(which, 1), h = extent(which, 2), w = extent(which, 3);
        return Tensor{types[which], n, c, h, w, (long long)h * w * c, 1, (long long)w * c, c};
    };
    work.x = tensor(0);
    work.y = tensor(2);
    work.w = Filter{types[1], nhwc, extent(1, 0), extent(1, 1), extent(1, 2), extent(1, 3)};
    auto &how = linked(operation, names[base][3])->attributes;
    auto number = [&](int name, int axis) { return (int)how.at(name).at<int64_t>(axis); };
    if (how.at(106).at<int64_t>(0) != 2) return refuse(not_supported, "other than two axes of space");
    for (int axis = 0; axis < 2; ++axis)
        if (number(104, axis) != number(105, axis)) return refuse(not_supported, "different padding on both sides");
    Type compute;
    if (!type_of(how.at(100).at<int>(0), compute)) return refuse(not_supported, "a type of arithmetic");
    work.convolution = {number(105, 0), number(105, 1), number(103, 0), number(103, 1), number(102, 0), number(102, 1), how.at(101).at<int>(0) == 0, compute, 1, 0};
    int factors = operation.kind == forward_kind ? 700 : operation.kind == backward_data_kind ? 706 : 712;
    if (operation.attributes.at(factors).at<float>(0) != 1.0f || operation.attributes.at(factors + 1).at<float>(0) != 0.0f)
        return refuse(not_supported, "factors other than 1 and 0");
    return check_shapes(work.x, work.w, work.convolution, work.y);
}

size_t workspace_of(int engine, const Work &work) { return engine == hungry_engine ? 333 + 2 * work.w.count() : 0; }

int finish(Descriptor &descriptor) {
    if (descriptor.finished) return refuse(bad_param, "to finish a descriptor twice");
    auto needed = needs.find(descriptor.kind);
    if (needed == needs.end()) return refuse(bad_param, "to finish a descriptor of this kind");
    for (auto &need : needed->second) {
        auto found = descriptor.attributes.find(need.name);
        if (found == descriptor.attributes.end() || found->second.type != need.type || found->second.count() != need.count) {
            fprintf(stderr, "gpu emulator: cuDNN misses attribute %d of a descriptor of kind %d\n", need.name, descriptor.kind);
            return bad_param;
        }
        if (need.type == descriptor_type)
            for (size_t i = 0; i < need.count; ++i) {
                auto other = found->second.at<const Descriptor *>(i);
                bool ready = living.count(other) && (other->finished || other->kind == configuration_kind);
                if (!ready) return refuse(bad_param, "a descriptor that is not finished, or does not exist any more");
            }
    }
    if (descriptor.kind == forward_kind || descriptor.kind == backward_data_kind || descriptor.kind == backward_filter_kind) {
        Work work;
        if (int status = read_work(descriptor, work)) return status;
    }
    if (descriptor.kind == plan_kind) {
        auto configuration = linked(descriptor, 401);
        if (configuration->engine < 0) return refuse(bad_param, "a plan of no kernel");
        if (configuration->engine == broken_engine || fault("graph:plan")) return refuse(not_supported, "a plan of this kernel");
    }
    return descriptor.finished = true, success;
}

int get(Descriptor &descriptor, int name, int type, int64_t room, int64_t *count, void *values) {
    auto one_number = [&](int64_t value) {
        if (type != int64_type || room < 1 || !values) return refuse(bad_param, "to read a number");
        memcpy(values, &value, 8);
        if (count) *count = 1;
        return (int)success;
    };
    if (descriptor.kind == heuristics_kind && name == 202) {
        if (!descriptor.finished || type != descriptor_type) return refuse(bad_param, "to read the list of kernels");
        int64_t found = fault("graph:query") ? 0 : std::size(engines);
        *count = room == 0 ? found : std::min(room, found);
        for (int64_t i = 0; room > 0 && i < *count; ++i) {
            auto configuration = ((Descriptor **)values)[i];
            if (!living.count(configuration) || configuration->kind != configuration_kind) return refuse(bad_param, "room for kernels that is no configuration");
            configuration->engine = engines[i];
            configuration->graph = linked(descriptor, 201);
        }
        return success;
    }
    if (descriptor.kind == configuration_kind && name == 300 && descriptor.engine >= 0) {
        // CUDNN_ATTR_ENGINECFG_ENGINE
        auto engine = ((Descriptor **)values)[0];
        if (!living.count(engine) || engine->kind != engine_kind) return refuse(bad_param, "room for an engine that is none");
        engine->engine = descriptor.engine;
        return *count = 1, success;
    }
    if (descriptor.kind == engine_kind && descriptor.engine >= 0 && name == 1301) return one_number(descriptor.engine);
    if (descriptor.kind == engine_kind && descriptor.engine >= 0 && name == 1303) {
        if (type != note_type || room < 2) return refuse(bad_param, "room for notes");
        int notes[] = {0, 4};
        *count = descriptor.engine == random_engine ? 2 : 1;
        return memcpy(values, notes, 4 * *count), success;
    }
    if (descriptor.kind == plan_kind && descriptor.finished && name == 402) {
        auto configuration = linked(descriptor, 401);
        Work work;
        if (int status = read_work(*linked(*configuration->graph, 801), work)) return status;
        return one_number(workspace_of(configuration->engine, work));
    }
    return refuse(bad_param, "to read an attribute");
}

int execute(Handle *handle, const Descriptor &plan, const Descriptor &pack) {
    if (plan.kind != plan_kind || !plan.finished || pack.kind != pack_kind || !pack.finished) return refuse(bad_param, "to run what is not finished");
    auto configuration = linked(plan, 401);
    if (!living.count(configuration) || !living.count(configuration->graph)) return refuse(bad_param, "a plan whose graph does not exist any more");
    Work work;
    if (int status = read_work(*linked(*configuration->graph, 801), work)) return status;
    void *pointers[3] = {};
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j)
            if (pack.attributes.at(1000).at<int64_t>(j) == work.names[i]) pointers[i] = pack.attributes.at(1001).at<void *>(j);
    auto [x, w, y] = pointers;
    check_range(x, work.x.reach() * size_of(work.x.type), "cuDNN's graph, x");
    check_range(w, work.w.count() * size_of(work.w.type), "cuDNN's graph, w");
    check_range(y, work.y.reach() * size_of(work.y.type), "cuDNN's graph, y");
    for (auto address : pointers)
        if ((uintptr_t)address % 16) return refuse(bad_param, "an address that is not aligned as promised");
    auto workspace = pack.attributes.at(1003).at<void *>(0);
    size_t needed = workspace_of(configuration->engine, work);
    if (needed) check_range(workspace, needed, "cuDNN's graph, workspace");
    if (fault("graph:run")) return refuse(execution_failed, "as it was asked to");
    log("graph of pass " + std::to_string((int)work.pass) + " by engine " + std::to_string(configuration->engine));
    enqueue(stream_of(handle->stream), [=, x = x, w = w, y = y, alpha = fault("graph:wrong") ? 1.5f : 1.0f] {
        if (needed) memset(workspace, 0xFF, needed);
        if (work.pass == Pass::forward) convolve(x, work.x, w, work.w, work.convolution, y, work.y, alpha, 0);
        if (work.pass == Pass::backward_data) convolve_backward_data(w, work.w, y, work.y, work.convolution, x, work.x, alpha, 0);
        if (work.pass == Pass::backward_filter) convolve_backward_filter(x, work.x, y, work.y, work.convolution, w, work.w, alpha, 0);
    });
    return success;
}

std::recursive_mutex mutex;

} // namespace

EXPORT int cudnnBackendCreateDescriptor(int kind, Descriptor **made) {
    std::lock_guard lock(mutex);
    *made = new Descriptor{(Kind)kind, false, {}, -1, nullptr};
    return living.insert(*made), success;
}
EXPORT int cudnnBackendDestroyDescriptor(Descriptor *descriptor) {
    std::lock_guard lock(mutex);
    if (!living.erase(descriptor)) fail("the end of a descriptor that does not exist");
    return delete descriptor, success;
}
EXPORT int cudnnBackendFinalize(Descriptor *descriptor) {
    std::lock_guard lock(mutex);
    return finish(*descriptor);
}
EXPORT int cudnnBackendSetAttribute(Descriptor *descriptor, int name, int type, int64_t count, const void *values) {
    std::lock_guard lock(mutex);
    if (!living.count(descriptor) || descriptor->finished) return refuse(bad_param, "to change a descriptor that is finished");
    if (!size_of_type(type) || count < 0 || (count > 0 && !values)) return refuse(bad_param, "an attribute's type or number");
    auto bytes = (const uint8_t *)values;
    return descriptor->attributes[name] = {type, {bytes, bytes + count * size_of_type(type)}}, success;
}
EXPORT int cudnnBackendGetAttribute(Descriptor *descriptor, int name, int type, int64_t room, int64_t *count, void *values) {
    std::lock_guard lock(mutex);
    if (!living.count(descriptor)) return refuse(bad_param, "to read a descriptor that does not exist");
    return get(*descriptor, name, type, room, count, values);
}
EXPORT int cudnnBackendExecute(Handle *handle, const Descriptor *plan, const Descriptor *pack) {
    std::lock_guard lock(mutex);
    return execute(handle, *plan, *pack);
}
