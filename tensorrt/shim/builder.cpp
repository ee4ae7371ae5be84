// The builder and the plans it makes.
#include "common.h"

namespace bernini {
namespace {

using CreateBuilder = void* (*)(void* logger, int32_t version);

BerniniBuilder* builder_create(void* entry, BerniniLogger* logger, BerniniSink error) noexcept {
    return guarded<BerniniBuilder*>(error, nullptr, [&] {
        auto create = reinterpret_cast<CreateBuilder>(entry);
        return ours(static_cast<nvinfer1::IBuilder*>(create(theirs(logger), NV_TENSORRT_VERSION)));
    });
}

BerniniMemory* builder_build(BerniniBuilder* builder, BerniniNetwork* network,
    BerniniConfig* config, BerniniSink error) noexcept {
    return guarded<BerniniMemory*>(error, nullptr, [&] {
        return ours(theirs(builder)->buildSerializedNetwork(*theirs(network), *theirs(config)));
    });
}

void const* memory_data(BerniniMemory* memory) noexcept { return theirs(memory)->data(); }

size_t memory_size(BerniniMemory* memory) noexcept { return theirs(memory)->size(); }

}  // namespace

void fill_builder(BerniniShim& table) noexcept {
    table.builder_create = builder_create;
    table.builder_destroy = destroy<nvinfer1::IBuilder>;
    table.builder_build = builder_build;
    table.memory_data = memory_data;
    table.memory_size = memory_size;
    table.memory_destroy = destroy<nvinfer1::IHostMemory>;
}

}  // namespace bernini
