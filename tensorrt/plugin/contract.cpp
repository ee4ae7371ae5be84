#include "contract.h"

#include <cmath>
#include <stdexcept>
#include <string>

namespace bernini {
namespace {

constexpr int32_t kMAX_HEADS = 128;  // one thread block holds a row of all heads

using Shape = std::vector<int64_t>;

char const* name(int32_t input) {
    constexpr char const* kNAMES[] = {"q", "k", "v", "norm_q", "norm_k", "cos", "sin"};
    return kNAMES[input];
}

Shape expected(Attributes const& attributes, Sizes const& sizes, int32_t input) {
    int64_t const channels = attributes.channels();
    switch (input) {
    case kQ: return {1, sizes.queries, channels};
    case kK:
    case kV:
        if (attributes.self_attention()) return {1, sizes.queries, channels};
        return {1, attributes.heads, sizes.keys, kHEAD};
    case kCOS:
    case kSIN: return {sizes.queries, kHEAD / 2};
    default: return {channels};
    }
}

std::string text(Shape const& shape) {
    std::string text;
    for (int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
    return "[" + text + "]";
}

int64_t axis(nvinfer1::Dims const& dims, int32_t index) {
    return index < dims.nbDims ? dims.d[index] : 0;
}

void require_positive(char const* name, float value) {
    if (!(std::isfinite(value) && value > 0))
        throw std::runtime_error(std::string("attribute ") + name + " is " +
            std::to_string(value) + ", expected a finite number above 0; export again");
}

}  // namespace

void check(Attributes const& attributes) {
    if (attributes.heads < 1 || attributes.heads > kMAX_HEADS)
        throw std::runtime_error("attribute heads is " + std::to_string(attributes.heads) +
            ", expected 1 to " + std::to_string(kMAX_HEADS) + "; export again");
    if (attributes.rope != 0 && attributes.rope != 1)
        throw std::runtime_error("attribute rope is " + std::to_string(attributes.rope) +
            ", expected 1 (self attention) or 0 (cross attention); export again");
    bool const flag = attributes.center_keys == 0 || attributes.center_keys == 1;
    if (!flag || attributes.center_keys > attributes.rope)
        throw std::runtime_error("attribute center_keys is " +
            std::to_string(attributes.center_keys) + " where rope is " +
            std::to_string(attributes.rope) +
            ", expected 0, or 1 in self attention; export again");
    require_positive("eps", attributes.eps);
    require_positive("q_scale", attributes.q_scale);
    require_positive("k_scale", attributes.k_scale);
    require_positive("v_scale", attributes.v_scale);
    require_positive("out_scale", attributes.out_scale);
}

Sizes sizes_of(Attributes const& attributes, std::vector<nvinfer1::Dims> const& inputs) {
    auto const count = static_cast<size_t>(input_count(attributes));
    if (inputs.size() != count)
        throw std::runtime_error("the node has " + std::to_string(inputs.size()) +
            " inputs, expected " + std::to_string(count) + " where rope is " +
            std::to_string(attributes.rope));
    Sizes const sizes{
        axis(inputs[kQ], 1), axis(inputs[kK], attributes.self_attention() ? 1 : 2)};
    for (size_t i = 0; i < count; ++i) {
        auto const input = static_cast<int32_t>(i);
        Shape const wanted = expected(attributes, sizes, input);
        Shape const found(inputs[i].d, inputs[i].d + std::max(inputs[i].nbDims, 0));
        if (found != wanted)
            throw std::runtime_error(std::string("input ") + name(input) + " is " + text(found) +
                ", expected " + text(wanted) + " with " + std::to_string(attributes.heads) +
                " heads");
    }
    if (sizes.queries < 1 || sizes.keys < 1)
        throw std::runtime_error("an attention without queries or keys");
    return sizes;
}

}  // namespace bernini
