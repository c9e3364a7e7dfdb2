// What graphs of cuDNN's operations compute: one convolution's product, or an output, its sum with a bias, and ReLU.

#include "cudnn_operations.hpp"

#include <cfloat>
#include <set>

using namespace emulator::convolutions;

namespace emulator::operations {

namespace {

enum Function : int { addition = 0, relu = 100 };

int function_of(const Descriptor &operation) { return linked(operation, 750)->attributes.at(0).at<int>(0); }

bool is_channels_last(const Attribute &extents, const Attribute &strides) {
    auto extent = [&](int i) { return extents.at<int64_t>(i); };
    int64_t expected[] = {extent(1) * extent(2) * extent(3), 1, extent(3) * extent(1), extent(1)};
    for (int i = 0; i < 4; ++i)
        if (strides.at<int64_t>(i) != expected[i]) return false;
    return true;
}

bool is_virtual(const Descriptor &tensor) { return tensor.attributes.at(907).at<uint8_t>(0); }
int64_t name_of(const Descriptor &tensor) { return tensor.attributes.at(906).at<int64_t>(0); }
int64_t extent_of(const Descriptor &tensor, int axis) { return tensor.attributes.at(902).at<int64_t>(axis); }
bool has_extents_of(const Descriptor &tensor, const Descriptor &other) {
    return tensor.attributes.at(902).bytes == other.attributes.at(902).bytes;
}

// A tensor of an operation. What is between operations is f32.
int check_tensor(const Descriptor *tensor) {
    if (tensor->kind != tensor_kind || !tensor->finished) return refuse(bad_param, "an operation on what is no finished tensor");
    auto &attributes = tensor->attributes;
    if (!is_channels_last(attributes.at(902), attributes.at(903))) return refuse(not_supported, "a tensor that is not channels last");
    if (attributes.at(900).at<int64_t>(0) > 16) return refuse(not_supported, "memory is aligned to 16 bytes here");
    if (is_virtual(*tensor) && attributes.at(901).at<int>(0) != 0) return refuse(not_supported, "a virtual tensor that is not f32");
    return success;
}

int read_convolution(const Descriptor &operation, Work &work) {
    int base = operation.kind == forward_kind ? 0 : operation.kind == backward_data_kind ? 1 : 2;
    const int names[3][4] = {{704, 703, 705, 702}, {710, 709, 711, 708}, {716, 715, 717, 714}};
    work.pass = (Pass)base;
    const Descriptor *tensors[3];
    for (int i = 0; i < 3; ++i) {
        tensors[i] = linked(operation, names[base][i]);
        if (int status = check_tensor(tensors[i])) return status;
        work.names[i] = name_of(*tensors[i]);
    }
    if (is_virtual(*tensors[0]) || is_virtual(*tensors[1]) || (is_virtual(*tensors[2]) && work.pass != Pass::forward))
        return refuse(not_supported, "a virtual tensor other than the output");
    auto extent = [&](int which, int axis) { return (int)extent_of(*tensors[which], axis); };
    Type types[3];
    for (int i = 0; i < 3; ++i)
        if (!type_of(tensors[i]->attributes.at(901).at<int>(0), types[i])) return refuse(not_supported, "a type of elements");
    // The type in which a later operation writes it.
    if (is_virtual(*tensors[2])) types[2] = types[0];
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

int check_function(const Descriptor *function) {
    if (function->kind != function_kind || !function->finished) return refuse(bad_param, "an operation by what is no finished function");
    auto &attributes = function->attributes;
    int mode = attributes.at(0).at<int>(0);
    if (mode != addition && mode != relu) return refuse(not_supported, "a function that is not emulated");
    if (attributes.at(1).at<int>(0) != 0) return refuse(not_supported, "a function in other arithmetic than f32");
    if (mode == addition) return success;
    const double limits[] = {0.0, FLT_MAX, 0.0};
    for (int i = 0; i < 3; ++i) {
        auto limit = attributes.find(3 + i);
        if (limit == attributes.end() || limit->second.type != double_type || limit->second.at<double>(0) != limits[i])
            return refuse(not_supported, "ReLU with other limits than 0 and infinity, or a slope below");
    }
    auto nan = attributes.find(2);
    if (nan == attributes.end() || nan->second.type != nan_type) return refuse(bad_param, "ReLU that does not say what becomes of NaN");
    return success;
}

int check_pointwise(const Descriptor &operation) {
    if (int status = check_function(linked(operation, 750))) return status;
    auto beside = operation.attributes.find(752), factor = operation.attributes.find(755);
    bool two = function_of(operation) == addition, has = beside != operation.attributes.end();
    if (two != has || two != (factor != operation.attributes.end())) return refuse(bad_param, "a number of arguments that is not the function's");
    if (operation.attributes.at(754).at<float>(0) != 1.0f || (two && factor->second.at<float>(0) != 1.0f))
        return refuse(not_supported, "factors other than 1");
    if (has && (beside->second.type != descriptor_type || !living.count(linked(operation, 752)))) return refuse(bad_param, "an argument that does not exist");
    for (int name : {751, 752, 753})
        if (name != 752 || has)
            if (int status = check_tensor(linked(operation, name))) return status;
    if (!has_extents_of(*linked(operation, 751), *linked(operation, 753))) return refuse(bad_param, "a result of other extents");
    return success;
}

// The sum of `product`, which `work` computes, with a bias, and ReLU of the sum.
int read_bias_relu(const Descriptor *product, const Descriptor &sum, const Descriptor &activation, Work &work) {
    if (sum.kind != pointwise_kind || activation.kind != pointwise_kind || function_of(sum) != addition || function_of(activation) != relu)
        return refuse(not_supported, "operations other than a sum and ReLU behind a convolution");
    const Descriptor *bias = linked(sum, 752), *between = linked(sum, 753), *result = linked(activation, 753);
    if (linked(sum, 751) != product || linked(activation, 751) != between) return refuse(bad_param, "operations that do not follow each other");
    if (!is_virtual(*product) || !is_virtual(*between) || is_virtual(*bias) || is_virtual(*result))
        return refuse(not_supported, "tensors in memory between operations, or others that are not");
    for (int axis = 0; axis < 4; ++axis)
        if (extent_of(*bias, axis) != (axis == 1 ? work.y.c : 1)) return refuse(not_supported, "a bias that is not one of channels");
    for (auto tensor : {bias, result}) {
        Type type;
        if (!type_of(tensor->attributes.at(901).at<int>(0), type) || type != work.x.type) return refuse(not_supported, "a bias or a result of another type");
    }
    work.has_bias = true;
    work.bias_name = name_of(*bias);
    work.names[2] = name_of(*result);
    std::set<int64_t> names{work.names[0], work.names[1], work.names[2], work.bias_name, name_of(*product), name_of(*between)};
    return names.size() == 6 ? success : refuse(bad_param, "two tensors of one name");
}

} // namespace

int check_operation(const Descriptor &operation) {
    Work work;
    return operation.kind == pointwise_kind ? check_pointwise(operation) : read_convolution(operation, work);
}

int read_graph(const Descriptor &graph, Work &work) {
    size_t count = graph.attributes.at(801).count();
    auto &first = *linked(graph, 801);
    if (first.kind != forward_kind && first.kind != backward_data_kind && first.kind != backward_filter_kind)
        return refuse(not_supported, "a graph that does not begin with a convolution");
    if (int status = read_convolution(first, work)) return status;
    const Descriptor *product = first.kind == forward_kind ? linked(first, 705) : nullptr;
    if (count == 1) return product && is_virtual(*product) ? refuse(not_supported, "a graph without a result in memory") : (int)success;
    if (count != 3 || !product) return refuse(not_supported, "a graph of other operations than a convolution, a sum and ReLU");
    return read_bias_relu(product, *linked(graph, 801, 1), *linked(graph, 801, 2), work);
}

} // namespace emulator::operations
