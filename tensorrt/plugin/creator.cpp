// Makes plugins from the attributes of ONNX nodes and of plans, and gives the creator to TensorRT.
#include "contract.h"
#include "log.h"
#include "plugin.h"
#include "sdpa.h"

#include <cstring>
#include <stdexcept>
#include <string>

namespace bernini {
namespace {

using namespace nvinfer1;

// The parser passes an ONNX integer as 64 bits, a plan as it was serialised.
int32_t integer(PluginField const& field) {
    switch (field.type) {
    case PluginFieldType::kINT32: return *static_cast<int32_t const*>(field.data);
    case PluginFieldType::kINT64:
        return static_cast<int32_t>(*static_cast<int64_t const*>(field.data));
    default: throw std::runtime_error(std::string("attribute ") + field.name + " is no integer");
    }
}

float number(PluginField const& field) {
    if (field.type != PluginFieldType::kFLOAT32)
        throw std::runtime_error(std::string("attribute ") + field.name + " is no float");
    return *static_cast<float const*>(field.data);
}

// What is not given stays 0, which no attribute but rope and center_keys may be.
Attributes attributes_of(PluginFieldCollection const& collection) {
    Attributes attributes;
    for (int32_t i = 0; i < collection.nbFields; ++i) {
        PluginField const& field = collection.fields[i];
        auto is = [&](char const* name) { return std::strcmp(field.name, name) == 0; };
        if (!field.data || field.length < 1) continue;
        if (is("heads")) attributes.heads = integer(field);
        if (is("rope")) attributes.rope = integer(field);
        if (is("center_keys")) attributes.center_keys = integer(field);
        if (is("eps")) attributes.eps = number(field);
        if (is("q_scale")) attributes.q_scale = number(field);
        if (is("k_scale")) attributes.k_scale = number(field);
        if (is("v_scale")) attributes.v_scale = number(field);
        if (is("out_scale")) attributes.out_scale = number(field);
    }
    check(attributes);
    return attributes;
}

// Makes cuDNN's plans for the sizes of all profiles, so that no run waits for them.
void prepare(Attributes const& attributes, PluginFieldCollection const& collection) {
    for (int32_t i = 0; i < collection.nbFields; ++i) {
        PluginField const& field = collection.fields[i];
        if (std::strcmp(field.name, kSIZES) != 0 || !field.data) continue;
        auto const* pairs = static_cast<int32_t const*>(field.data);
        for (int32_t pair = 0; pair + 1 < field.length; pair += 2)
            Sdpa::find(attributes.heads, Sizes{pairs[pair], pairs[pair + 1]});
    }
}

class Creator final : public IPluginCreatorV3One {
public:
    Creator() : fields_(fields_of(kNONE)) {
        for (auto& field : fields_) field.data = nullptr;
        collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
    }

    IPluginV3* createPlugin(
        char const*, PluginFieldCollection const* fields, TensorRTPhase phase) noexcept override {
        return logged<IPluginV3*>(nullptr, [&] {
            Attributes const attributes = attributes_of(*fields);
            if (phase == TensorRTPhase::kRUNTIME) prepare(attributes, *fields);
            return new Fp8Attention(attributes);
        });
    }
    PluginFieldCollection const* getFieldNames() noexcept override { return &collection_; }
    char const* getPluginName() const noexcept override { return kNAME; }
    char const* getPluginVersion() const noexcept override { return kVERSION; }
    char const* getPluginNamespace() const noexcept override { return kNAMESPACE; }

private:
    static constexpr Attributes kNONE{};
    std::array<PluginField, 8> fields_;
    PluginFieldCollection collection_{};
};

}  // namespace
}  // namespace bernini

// IPluginRegistry::loadLibrary asks for it.
extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const*
getCreators(int32_t& count) {
    static bernini::Creator creator;
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&creator};
    count = 1;
    return creators;
}
