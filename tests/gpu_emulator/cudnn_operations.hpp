// Descriptors of cuDNN's graph interface, and what a graph of them computes.
#pragma once

#include "convolutions.hpp"

#include <cstring>
#include <map>
#include <unordered_set>
#include <vector>

namespace emulator::operations {

enum Kind : int {
    function_kind = 0, convolution_kind = 1, engine_kind = 2, configuration_kind = 3, heuristics_kind = 4, plan_kind = 5, forward_kind = 10,
    backward_filter_kind = 11, backward_data_kind = 12, pointwise_kind = 13, graph_kind = 15, pack_kind = 16, tensor_kind = 17,
};

// Types of attributes, with the size of an element.
enum AttributeType : int {
    handle_type = 0, data_type = 1, boolean_type = 2, int64_type = 3, float_type = 4, double_type = 5, pointer_type = 6,
    mode_type = 7, heuristic_type = 8, nan_type = 10, note_type = 11, function_type = 14, descriptor_type = 15,
};

inline size_t size_of_type(int type) {
    switch (type) {
    case boolean_type: return 1;
    case data_type: case float_type: case mode_type: case heuristic_type: case nan_type: case note_type: case function_type: return 4;
    case handle_type: case int64_type: case double_type: case pointer_type: case descriptor_type: return 8;
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
inline auto &living = *new std::unordered_set<const void *>;

inline const Descriptor *linked(const Descriptor &descriptor, int name, size_t index = 0) {
    return descriptor.attributes.at(name).at<const Descriptor *>(index);
}

// What a graph computes: a convolution's product, and of an output perhaps the sum with a bias and ReLU. Tensors are in
// the order of the first interface.
struct Work {
    convolutions::Pass pass;
    convolutions::Tensor x, y;
    convolutions::Filter w;
    convolutions::Convolution convolution;
    int64_t names[3];
    bool has_bias = false;
    int64_t bias_name = 0;
};

// Whether an operation of products, or of single elements, can be computed.
int check_operation(const Descriptor &operation);
// What a finished graph computes.
int read_graph(const Descriptor &graph, Work &work);

} // namespace emulator::operations
