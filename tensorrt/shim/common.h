// What all parts of the shim share: guards, casts between our names and TensorRT's, the parts.
#ifndef BERNINI_COMMON_H
#define BERNINI_COMMON_H

#include "bernini_shim.h"

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include <cstring>
#include <exception>
#include <new>

namespace bernini {

inline void write(BerniniSink sink, char const* text) noexcept {
    if (sink.write && text) sink.write(sink.user, text, std::strlen(text));
}

// Runs `body`; an exception becomes `failure` and its text.
template <typename R, typename F>
R guarded(BerniniSink error, R failure, F&& body) noexcept {
    try {
        return body();
    } catch (std::exception const& exception) {
        write(error, exception.what());
    } catch (...) {
        write(error, "unknown C++ exception");
    }
    return failure;
}

// Destructors of TensorRT's objects must not throw into Rust either.
template <typename T, typename Ours>
void destroy(Ours* object) noexcept {
    try {
        delete reinterpret_cast<T*>(object);
    } catch (...) {
    }
}

#define BERNINI_CAST(Ours, Theirs)                                                                \
    inline Theirs* theirs(Ours* object) noexcept { return reinterpret_cast<Theirs*>(object); }     \
    inline Ours* ours(Theirs* object) noexcept { return reinterpret_cast<Ours*>(object); }

BERNINI_CAST(BerniniLogger, nvinfer1::ILogger)
BERNINI_CAST(BerniniBuilder, nvinfer1::IBuilder)
BERNINI_CAST(BerniniNetwork, nvinfer1::INetworkDefinition)
BERNINI_CAST(BerniniParser, nvonnxparser::IParser)
BERNINI_CAST(BerniniConfig, nvinfer1::IBuilderConfig)
BERNINI_CAST(BerniniProfile, nvinfer1::IOptimizationProfile)
BERNINI_CAST(BerniniCache, nvinfer1::ITimingCache)
BERNINI_CAST(BerniniMonitor, nvinfer1::IProgressMonitor)
BERNINI_CAST(BerniniMemory, nvinfer1::IHostMemory)
BERNINI_CAST(BerniniRuntime, nvinfer1::IRuntime)
BERNINI_CAST(BerniniEngine, nvinfer1::ICudaEngine)
BERNINI_CAST(BerniniContext, nvinfer1::IExecutionContext)
BERNINI_CAST(BerniniProfiler, nvinfer1::IProfiler)
#undef BERNINI_CAST

inline nvinfer1::Dims theirs(BerniniDims const& dims) noexcept {
    nvinfer1::Dims out{};
    out.nbDims = dims.rank;
    for (int32_t i = 0; i < dims.rank && i < nvinfer1::Dims::MAX_DIMS; ++i) out.d[i] = dims.sizes[i];
    return out;
}

inline BerniniDims ours(nvinfer1::Dims const& dims) noexcept {
    BerniniDims out{};
    out.rank = dims.nbDims;
    for (int32_t i = 0; i < dims.nbDims && i < nvinfer1::Dims::MAX_DIMS; ++i) out.sizes[i] = dims.d[i];
    return out;
}

// Each part of the shim fills in its functions.
void fill_callbacks(BerniniShim&) noexcept;
void fill_builder(BerniniShim&) noexcept;
void fill_network(BerniniShim&) noexcept;
void fill_config(BerniniShim&) noexcept;
void fill_engine(BerniniShim&) noexcept;
void fill_context(BerniniShim&) noexcept;

}  // namespace bernini

#endif
