// cuDNN's graph interface, as far as graphs of one convolution need it: descriptors with attributes, which become
// tensors, a convolution, operations, a graph, a list of kernels, a plan and the pointers of a call.

#include "cudnn_operations.hpp"

#include <cstdio>
#include <mutex>

using namespace emulator;
using namespace emulator::convolutions;
using namespace emulator::operations;

namespace {

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
    {tensor_kind, {{900, int64_type, 1}, {901, data_type, 1}, {902, int64_type, 4}, {903, int64_type, 4}, {906, int64_type, 1}, {907, boolean_type, 1}}},
    {function_kind, {{0, function_type, 1}, {1, data_type, 1}}},
    {pointwise_kind, {{750, descriptor_type, 1}, {751, descriptor_type, 1}, {753, descriptor_type, 1}, {754, float_type, 1}}},
    {convolution_kind, {{100, data_type, 1}, {101, mode_type, 1}, {102, int64_type, 2}, {103, int64_type, 2}, {104, int64_type, 2}, {105, int64_type, 2}, {106, int64_type, 1}}},
    {forward_kind, {{700, float_type, 1}, {701, float_type, 1}, {702, descriptor_type, 1}, {703, descriptor_type, 1}, {704, descriptor_type, 1}, {705, descriptor_type, 1}}},
    {backward_data_kind, {{706, float_type, 1}, {707, float_type, 1}, {708, descriptor_type, 1}, {709, descriptor_type, 1}, {710, descriptor_type, 1}, {711, descriptor_type, 1}}},
    {backward_filter_kind, {{712, float_type, 1}, {713, float_type, 1}, {714, descriptor_type, 1}, {715, descriptor_type, 1}, {716, descriptor_type, 1}, {717, descriptor_type, 1}}},
    {graph_kind, {{800, handle_type, 1}, {801, descriptor_type, 0}}},
    {heuristics_kind, {{200, heuristic_type, 1}, {201, descriptor_type, 1}}},
    {plan_kind, {{400, handle_type, 1}, {401, descriptor_type, 1}}},
    {pack_kind, {{1000, int64_type, 0}, {1001, pointer_type, 0}, {1003, pointer_type, 1}}},
};

// Whether graphs fail as `kind` says, or those with a bias do.
bool is_faulty(const Work &work, const std::string &kind) { return fault("graph:" + kind) || (work.has_bias && fault("graph:bias:" + kind)); }

size_t workspace_of(int engine, const Work &work) { return engine == hungry_engine ? 333 + 2 * work.w.count() : 0; }

int finish(Descriptor &descriptor) {
    if (descriptor.finished) return refuse(bad_param, "to finish a descriptor twice");
    auto needed = needs.find(descriptor.kind);
    if (needed == needs.end()) return refuse(bad_param, "to finish a descriptor of this kind");
    for (auto &need : needed->second) {
        auto found = descriptor.attributes.find(need.name);
        if (found == descriptor.attributes.end() || found->second.type != need.type || found->second.count() == 0 ||
            (need.count && found->second.count() != need.count)) {
            fprintf(stderr, "gpu emulator: cuDNN misses attribute %d of a descriptor of kind %d\n", need.name, descriptor.kind);
            return bad_param;
        }
        if (need.type == descriptor_type)
            for (size_t i = 0; i < found->second.count(); ++i) {
                auto other = found->second.at<const Descriptor *>(i);
                bool ready = living.count(other) && (other->finished || other->kind == configuration_kind);
                if (!ready) return refuse(bad_param, "a descriptor that is not finished, or does not exist any more");
            }
    }
    switch (descriptor.kind) {
    case forward_kind: case backward_data_kind: case backward_filter_kind: case pointwise_kind:
        if (int status = check_operation(descriptor)) return status;
        break;
    case graph_kind: {
        Work work;
        if (int status = read_graph(descriptor, work)) return status;
        break;
    }
    default: break;
    }
    if (descriptor.kind == plan_kind) {
        auto configuration = linked(descriptor, 401);
        if (configuration->engine < 0) return refuse(bad_param, "a plan of no kernel");
        Work work;
        if (int status = read_graph(*configuration->graph, work)) return status;
        if (configuration->engine == broken_engine || is_faulty(work, "plan")) return refuse(not_supported, "a plan of this kernel");
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
        Work work;
        if (int status = read_graph(*linked(descriptor, 201), work)) return status;
        int64_t found = is_faulty(work, "query") ? 0 : std::size(engines);
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
        if (int status = read_graph(*configuration->graph, work)) return status;
        return one_number(workspace_of(configuration->engine, work));
    }
    return refuse(bad_param, "to read an attribute");
}

int execute(Handle *handle, const Descriptor &plan, const Descriptor &pack) {
    if (plan.kind != plan_kind || !plan.finished || pack.kind != pack_kind || !pack.finished) return refuse(bad_param, "to run what is not finished");
    auto configuration = linked(plan, 401);
    if (!living.count(configuration) || !living.count(configuration->graph)) return refuse(bad_param, "a plan whose graph does not exist any more");
    Work work;
    if (int status = read_graph(*configuration->graph, work)) return status;
    void *pointers[4] = {};
    size_t count = work.has_bias ? 4 : 3;
    auto &names = pack.attributes.at(1000), &addresses = pack.attributes.at(1001);
    if (names.count() != count || addresses.count() != count) return refuse(bad_param, "a number of tensors that is not the graph's");
    for (size_t i = 0; i < count; ++i)
        for (size_t j = 0; j < count; ++j)
            if (names.at<int64_t>(j) == (i < 3 ? work.names[i] : work.bias_name)) pointers[i] = addresses.at<void *>(j);
    auto [x, w, y, bias] = pointers;
    check_range(x, work.x.reach() * size_of(work.x.type), "cuDNN's graph, x");
    check_range(w, work.w.count() * size_of(work.w.type), "cuDNN's graph, w");
    check_range(y, work.y.reach() * size_of(work.y.type), "cuDNN's graph, y");
    if (work.has_bias) check_range(bias, work.y.c * size_of(work.y.type), "cuDNN's graph, bias");
    for (auto address : pointers)
        if ((uintptr_t)address % 16) return refuse(bad_param, "an address that is not aligned as promised");
    auto workspace = pack.attributes.at(1003).at<void *>(0);
    size_t needed = workspace_of(configuration->engine, work);
    if (needed) check_range(workspace, needed, "cuDNN's graph, workspace");
    if (is_faulty(work, "run")) return refuse(execution_failed, "as it was asked to");
    log("graph of pass " + std::to_string((int)work.pass) + (work.has_bias ? " with bias and ReLU" : "") + " by engine " + std::to_string(configuration->engine));
    Bias added{bias, work.y.type};
    enqueue(stream_of(handle->stream), [=, x = x, w = w, y = y, alpha = is_faulty(work, "wrong") ? 1.5f : 1.0f] {
        if (needed) memset(workspace, 0xFF, needed);
        if (work.pass == Pass::forward) convolve(x, work.x, w, work.w, work.convolution, y, work.y, alpha, 0, added);
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
