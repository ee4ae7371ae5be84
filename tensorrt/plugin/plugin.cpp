#include "plugin.h"

#include "contract.h"
#include "log.h"
#include "quantize.h"
#include "sdpa.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace bernini {
namespace {

using namespace nvinfer1;

constexpr int32_t kDONE = 0;
constexpr int32_t kFAILED = -1;
constexpr float kE4M3_MAX = 448;

template <typename Desc, typename F>
Sizes sizes_of(Attributes const& attributes, Desc const* inputs, int32_t count, F&& dims) {
    std::vector<Dims> shapes;
    for (int32_t i = 0; i < count; ++i) shapes.push_back(dims(inputs[i]));
    return sizes_of(attributes, shapes);
}

Sizes largest(Attributes const& attributes, DynamicPluginTensorDesc const* inputs, int32_t count) {
    return sizes_of(attributes, inputs, count, [](auto const& input) { return input.max; });
}

Sizes usual(Attributes const& attributes, DynamicPluginTensorDesc const* inputs, int32_t count) {
    return sizes_of(attributes, inputs, count, [](auto const& input) { return input.opt; });
}

Sizes current(Attributes const& attributes, PluginTensorDesc const* inputs, int32_t count) {
    return sizes_of(attributes, inputs, count, [](auto const& input) { return input.dims; });
}

void run(Attributes const& attributes, Sizes const& sizes, void const* const* inputs,
    void* output, void* memory, cudaStream_t stream) {
    bool const self = attributes.self_attention();
    Workspace const workspace(attributes, sizes);
    auto* const base = static_cast<uint8_t*>(memory);
    auto* const scalars = reinterpret_cast<Scalars*>(base + workspace.scalars);
    Scalars const values{attributes.q_scale, attributes.k_scale, attributes.v_scale,
        1 / kE4M3_MAX, kE4M3_MAX, 1 / attributes.out_scale, 0, 0};

    auto const* cos = self ? static_cast<float const*>(inputs[kCOS]) : nullptr;
    auto const* sin = self ? static_cast<float const*>(inputs[kSIN]) : nullptr;
    auto const queries = static_cast<int32_t>(sizes.queries);
    auto const keys = static_cast<int32_t>(sizes.keys);
    Operand const q{inputs[kQ], inputs[kNORM_Q], cos, sin, nullptr, base + workspace.q, queries,
        false, attributes.q_scale};
    Operand k{inputs[kK], self ? inputs[kNORM_K] : nullptr, cos, sin, nullptr, base + workspace.k,
        keys, !self, attributes.k_scale};
    Operand const v{inputs[kV], nullptr, nullptr, nullptr, nullptr, base + workspace.v, keys, !self,
        attributes.v_scale};
    if (attributes.center_keys) {
        auto* const mean = reinterpret_cast<float*>(base + workspace.mean);
        auto* const parts = reinterpret_cast<float*>(base + workspace.mean_parts);
        mean_of(k, attributes.heads, attributes.eps, parts, mean, stream);
        k.mean = mean;
    }
    quantize(q, k, v, attributes.heads, attributes.eps, values, scalars, stream);
    if (char const* error = launch_error())
        throw std::runtime_error(std::string("CUDA: launch the quantising kernels: ") + error);
    // Loading or onShapeChange has made the plan, so it is only looked up here.
    Sdpa::find(attributes.heads, sizes)
        ->run(q.codes, k.codes, v.codes, output, scalars, base + workspace.cudnn, stream);
}

}  // namespace

std::array<PluginField, 8> fields_of(Attributes const& attributes) {
    auto integer = [](char const* name, int32_t const& value) {
        return PluginField{name, &value, PluginFieldType::kINT32, 1};
    };
    auto number = [](char const* name, float const& value) {
        return PluginField{name, &value, PluginFieldType::kFLOAT32, 1};
    };
    return {integer("heads", attributes.heads), integer("rope", attributes.rope),
        integer("center_keys", attributes.center_keys), number("eps", attributes.eps),
        number("q_scale", attributes.q_scale), number("k_scale", attributes.k_scale),
        number("v_scale", attributes.v_scale), number("out_scale", attributes.out_scale)};
}

void ProfileSizes::add(Sizes const& sizes) {
    std::lock_guard<std::mutex> const lock(mutex_);
    if (std::find(sizes_.begin(), sizes_.end(), sizes) == sizes_.end()) sizes_.push_back(sizes);
}

std::vector<int32_t> ProfileSizes::pairs() const {
    std::lock_guard<std::mutex> const lock(mutex_);
    std::vector<int32_t> pairs;
    for (Sizes const& sizes : sizes_)
        for (int64_t size : {sizes.queries, sizes.keys}) pairs.push_back(static_cast<int32_t>(size));
    return pairs;
}

Fp8Attention::Fp8Attention(Attributes const& attributes, std::shared_ptr<ProfileSizes> sizes)
    : attributes_(attributes), sizes_(std::move(sizes)), collection_{} {}

IPluginCapability* Fp8Attention::getCapabilityInterface(PluginCapabilityType type) noexcept {
    switch (type) {
    case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
    case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
    case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
    }
    return nullptr;
}

IPluginV3* Fp8Attention::clone() noexcept {
    return logged<IPluginV3*>(nullptr, [&] { return new Fp8Attention(attributes_, sizes_); });
}

IPluginV3* Fp8Attention::attachToContext(IPluginResourceContext*) noexcept { return clone(); }

PluginFieldCollection const* Fp8Attention::getFieldsToSerialize() noexcept {
    return logged<PluginFieldCollection const*>(nullptr, [&] {
        auto const fields = fields_of(attributes_);
        fields_.assign(fields.begin(), fields.end());
        pairs_ = sizes_->pairs();
        if (!pairs_.empty())
            fields_.emplace_back(kSIZES, pairs_.data(), PluginFieldType::kINT32,
                static_cast<int32_t>(pairs_.size()));
        collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
        return &collection_;
    });
}

int32_t Fp8Attention::getOutputDataTypes(
    DataType* outputs, int32_t, DataType const*, int32_t) const noexcept {
    outputs[0] = DataType::kFP8;
    return kDONE;
}

int32_t Fp8Attention::getOutputShapes(DimsExprs const* inputs, int32_t, DimsExprs const*, int32_t,
    DimsExprs* outputs, int32_t, IExprBuilder&) noexcept {
    outputs[0] = inputs[kQ];
    return kDONE;
}

bool Fp8Attention::supportsFormatCombination(int32_t position,
    DynamicPluginTensorDesc const* tensors, int32_t input_count, int32_t) noexcept {
    auto const& tensor = tensors[position].desc;
    auto const type = position < input_count ? input_type(position) : DataType::kFP8;
    return tensor.format == TensorFormat::kLINEAR && tensor.type == type;
}

int32_t Fp8Attention::configurePlugin(DynamicPluginTensorDesc const* inputs, int32_t input_count,
    DynamicPluginTensorDesc const*, int32_t) noexcept {
    return logged(kFAILED, [&] {
        largest(attributes_, inputs, input_count);
        sizes_->add(usual(attributes_, inputs, input_count));
        return kDONE;
    });
}

size_t Fp8Attention::getWorkspaceSize(DynamicPluginTensorDesc const* inputs, int32_t input_count,
    DynamicPluginTensorDesc const*, int32_t) const noexcept {
    return logged(size_t{0}, [&] {
        return Workspace(attributes_, largest(attributes_, inputs, input_count)).bytes();
    });
}

int32_t Fp8Attention::onShapeChange(PluginTensorDesc const* inputs, int32_t input_count,
    PluginTensorDesc const*, int32_t) noexcept {
    return logged(kFAILED, [&] {
        Sizes const sizes = current(attributes_, inputs, input_count);
        int64_t const needed = Sdpa::find(attributes_.heads, sizes)->workspace_bytes();
        int64_t const reserved = Workspace(attributes_, sizes).cudnn_bytes;
        if (needed > reserved)
            throw std::runtime_error("cuDNN wants " + std::to_string(needed) +
                " bytes of scratch memory, the plugin reserves " + std::to_string(reserved) +
                "; use the cuDNN that the plugin was built for, or report it");
        return kDONE;
    });
}

int32_t Fp8Attention::enqueue(PluginTensorDesc const* input_descs, PluginTensorDesc const*,
    void const* const* inputs, void* const* outputs, void* workspace,
    cudaStream_t stream) noexcept {
    return logged(kFAILED, [&] {
        Sizes const sizes = current(attributes_, input_descs, input_count(attributes_));
        run(attributes_, sizes, inputs, outputs[0], workspace, stream);
        return kDONE;
    });
}

}  // namespace bernini
