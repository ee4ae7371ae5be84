// Execution contexts.
#include "common.h"

namespace bernini {
namespace {

void* pointer(uint64_t address) noexcept {
    return reinterpret_cast<void*>(static_cast<uintptr_t>(address));
}

BerniniContext* context_create(BerniniEngine* engine, BerniniSink error) noexcept {
    return guarded<BerniniContext*>(error, nullptr, [&] {
        return ours(theirs(engine)->createExecutionContext(
            nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
    });
}

bool context_set_profile(
    BerniniContext* context, int32_t profile, void* stream, BerniniSink error) noexcept {
    return guarded(error, false, [&] {
        return theirs(context)->setOptimizationProfileAsync(
            profile, static_cast<cudaStream_t>(stream));
    });
}

void context_set_memory(BerniniContext* context, uint64_t address, int64_t bytes) noexcept {
    theirs(context)->setDeviceMemoryV2(pointer(address), bytes);
}

bool context_set_shape(
    BerniniContext* context, char const* input, BerniniDims const* dims) noexcept {
    return theirs(context)->setInputShape(input, theirs(*dims));
}

void context_shape(BerniniContext* context, char const* tensor, BerniniDims* out) noexcept {
    *out = ours(theirs(context)->getTensorShape(tensor));
}

bool context_bind(BerniniContext* context, char const* tensor, uint64_t address) noexcept {
    return theirs(context)->setTensorAddress(tensor, pointer(address));
}

bool context_enqueue(BerniniContext* context, void* stream, BerniniSink error) noexcept {
    return guarded(error, false,
        [&] { return theirs(context)->enqueueV3(static_cast<cudaStream_t>(stream)); });
}

void context_set_profiler(BerniniContext* context, BerniniProfiler* profiler) noexcept {
    theirs(context)->setProfiler(theirs(profiler));
}

}  // namespace

void fill_context(BerniniShim& table) noexcept {
    table.context_create = context_create;
    table.context_destroy = destroy<nvinfer1::IExecutionContext>;
    table.context_set_profile = context_set_profile;
    table.context_set_memory = context_set_memory;
    table.context_set_shape = context_set_shape;
    table.context_shape = context_shape;
    table.context_bind = context_bind;
    table.context_enqueue = context_enqueue;
    table.context_set_profiler = context_set_profiler;
}

}  // namespace bernini
