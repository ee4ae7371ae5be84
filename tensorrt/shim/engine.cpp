// Plugins, the runtime and the engines it loads.
#include "common.h"

#include <memory>

namespace bernini {
namespace {

using CreateRuntime = void* (*)(void* logger, int32_t version);

using Registry = nvinfer1::IPluginRegistry* (*)();

bool plugin_load(void* entry, char const* path, BerniniSink error) noexcept {
    return guarded(error, false, [&] {
        auto* registry = reinterpret_cast<Registry>(entry)();
        return registry && registry->loadLibrary(path) != nullptr;
    });
}

BerniniRuntime* runtime_create(void* entry, BerniniLogger* logger, BerniniSink error) noexcept {
    return guarded<BerniniRuntime*>(error, nullptr, [&] {
        auto create = reinterpret_cast<CreateRuntime>(entry);
        return ours(static_cast<nvinfer1::IRuntime*>(create(theirs(logger), NV_TENSORRT_VERSION)));
    });
}

BerniniEngine* runtime_deserialize(
    BerniniRuntime* runtime, void const* plan, size_t size, BerniniSink error) noexcept {
    return guarded<BerniniEngine*>(
        error, nullptr, [&] { return ours(theirs(runtime)->deserializeCudaEngine(plan, size)); });
}

int32_t engine_tensor_count(BerniniEngine* engine) noexcept {
    return theirs(engine)->getNbIOTensors();
}

bool engine_tensor(BerniniEngine* engine, int32_t index, BerniniTensor* out) noexcept {
    auto const* cuda_engine = theirs(engine);
    char const* name = cuda_engine->getIOTensorName(index);
    if (!name) return false;
    out->name = name;
    out->dtype = static_cast<int32_t>(cuda_engine->getTensorDataType(name));
    out->input = cuda_engine->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
    out->host = cuda_engine->getTensorLocation(name) == nvinfer1::TensorLocation::kHOST;
    out->dims = ours(cuda_engine->getTensorShape(name));
    return true;
}

int32_t engine_profile_count(BerniniEngine* engine) noexcept {
    return theirs(engine)->getNbOptimizationProfiles();
}

void engine_profile_shape(BerniniEngine* engine, char const* input, int32_t profile,
    BerniniBound bound, BerniniDims* out) noexcept {
    auto const selector = static_cast<nvinfer1::OptProfileSelector>(bound);
    *out = ours(theirs(engine)->getProfileShape(input, profile, selector));
}

int64_t engine_activation_bytes(BerniniEngine* engine, int32_t profile) noexcept {
    return theirs(engine)->getDeviceMemorySizeForProfileV2(profile);
}

int32_t engine_layer_count(BerniniEngine* engine) noexcept { return theirs(engine)->getNbLayers(); }

bool engine_layers(BerniniEngine* engine, BerniniSink json, BerniniSink error) noexcept {
    return guarded(error, false, [&] {
        std::unique_ptr<nvinfer1::IEngineInspector> inspector{
            theirs(engine)->createEngineInspector()};
        if (!inspector) return false;
        char const* text =
            inspector->getEngineInformation(nvinfer1::LayerInformationFormat::kJSON);
        write(json, text);
        return text != nullptr;
    });
}

}  // namespace

void fill_engine(BerniniShim& table) noexcept {
    table.plugin_load = plugin_load;
    table.runtime_create = runtime_create;
    table.runtime_destroy = destroy<nvinfer1::IRuntime>;
    table.runtime_deserialize = runtime_deserialize;
    table.engine_destroy = destroy<nvinfer1::ICudaEngine>;
    table.engine_tensor_count = engine_tensor_count;
    table.engine_tensor = engine_tensor;
    table.engine_profile_count = engine_profile_count;
    table.engine_profile_shape = engine_profile_shape;
    table.engine_activation_bytes = engine_activation_bytes;
    table.engine_layer_count = engine_layer_count;
    table.engine_layers = engine_layers;
}

}  // namespace bernini
