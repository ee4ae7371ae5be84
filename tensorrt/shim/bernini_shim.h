// The C interface between bernini-tensorrt and TensorRT; src/sys.rs mirrors it line by line.
//
// Every function is noexcept. Functions that can fail return null, false or -1; what C++ had to say
// goes to `error`, what TensorRT had to say goes to the logger. Every object but the profile (its
// builder owns it) is given back to its *_destroy function, before what it was made from.
#ifndef BERNINI_SHIM_H
#define BERNINI_SHIM_H

#include <stddef.h>
#include <stdint.h>

struct BerniniLogger;
struct BerniniBuilder;
struct BerniniNetwork;
struct BerniniParser;
struct BerniniConfig;
struct BerniniProfile;
struct BerniniCache;
struct BerniniMonitor;
struct BerniniMemory;
struct BerniniRuntime;
struct BerniniEngine;
struct BerniniContext;
struct BerniniProfiler;

extern "C" {

// Text for the caller: appends `size` bytes.
struct BerniniSink {
    void* user;
    void (*write)(void* user, char const* text, size_t size) noexcept;
};

struct BerniniDims {
    int32_t rank;  // -1: no such tensor
    int64_t sizes[8];
};

struct BerniniTensor {
    char const* name;  // lives as long as the network or engine
    int32_t dtype;     // nvinfer1::DataType
    bool input;
    bool host;  // TensorRT reads or writes it in host memory
    BerniniDims dims;
};

// nvinfer1::OptProfileSelector
enum BerniniBound : int32_t { kBERNINI_MIN = 0, kBERNINI_OPT = 1, kBERNINI_MAX = 2 };

struct BerniniShim {
    uint32_t size;           // of this struct
    uint32_t headers_major;  // TensorRT's major version that this shim was compiled for

    // `log` may be called from any thread; severity is nvinfer1::ILogger::Severity, warnings and
    // worse only.
    BerniniLogger* (*logger_create)(
        void* user, void (*log)(void* user, int32_t severity, char const* text) noexcept) noexcept;
    void (*logger_destroy)(BerniniLogger*) noexcept;

    // `entry` is createInferBuilder_INTERNAL.
    BerniniBuilder* (*builder_create)(void* entry, BerniniLogger*, BerniniSink error) noexcept;
    void (*builder_destroy)(BerniniBuilder*) noexcept;
    BerniniMemory* (*builder_build)(
        BerniniBuilder*, BerniniNetwork*, BerniniConfig*, BerniniSink error) noexcept;

    void const* (*memory_data)(BerniniMemory*) noexcept;
    size_t (*memory_size)(BerniniMemory*) noexcept;
    void (*memory_destroy)(BerniniMemory*) noexcept;

    BerniniNetwork* (*network_create)(BerniniBuilder*, BerniniSink error) noexcept;
    void (*network_destroy)(BerniniNetwork*) noexcept;
    int32_t (*network_tensor_count)(BerniniNetwork*, bool input) noexcept;
    bool (*network_tensor)(BerniniNetwork*, bool input, int32_t index, BerniniTensor*) noexcept;
    bool (*network_set_input_shape)(BerniniNetwork*, int32_t index, BerniniDims const*) noexcept;
    int32_t (*network_layer_count)(BerniniNetwork*) noexcept;

    // `entry` is createNvOnnxParser_INTERNAL. The parser holds the network's weights.
    BerniniParser* (*parser_create)(
        void* entry, BerniniNetwork*, BerniniLogger*, BerniniSink error) noexcept;
    bool (*parser_parse)(BerniniParser*, void const* onnx, size_t size, char const* path,
        BerniniSink error) noexcept;
    void (*parser_destroy)(BerniniParser*) noexcept;

    BerniniConfig* (*config_create)(BerniniBuilder*, BerniniSink error) noexcept;
    void (*config_destroy)(BerniniConfig*) noexcept;
    void (*config_set_workspace)(BerniniConfig*, size_t bytes) noexcept;
    void (*config_set_optimization_level)(BerniniConfig*, int32_t level) noexcept;
    void (*config_set_detailed)(BerniniConfig*, bool) noexcept;
    void (*config_set_monitor)(BerniniConfig*, BerniniMonitor*) noexcept;
    bool (*config_set_cache)(BerniniConfig*, BerniniCache*) noexcept;
    BerniniMemory* (*config_serialize_cache)(BerniniConfig*, BerniniSink error) noexcept;
    int32_t (*config_add_profile)(BerniniConfig*, BerniniProfile*) noexcept;

    BerniniProfile* (*profile_create)(BerniniBuilder*, BerniniSink error) noexcept;
    bool (*profile_set)(
        BerniniProfile*, char const* input, BerniniBound, BerniniDims const*) noexcept;

    BerniniCache* (*cache_create)(
        BerniniConfig*, void const* data, size_t size, BerniniSink error) noexcept;
    void (*cache_destroy)(BerniniCache*) noexcept;

    // `progress` may be called from any thread, `step` of `steps` done; false stops the build.
    // `steps` is -1 where TensorRT does not repeat it, `step` is -1 when the phase ends.
    BerniniMonitor* (*monitor_create)(void* user,
        bool (*progress)(void* user, char const* phase, int32_t step, int32_t steps) noexcept) noexcept;
    void (*monitor_destroy)(BerniniMonitor*) noexcept;

    // `entry` is getPluginRegistry. Makes the plugins of a library known to TensorRT, until the
    // process ends; false where one of their names is known already.
    bool (*plugin_load)(void* entry, char const* path, BerniniSink error) noexcept;

    // `entry` is createInferRuntime_INTERNAL.
    BerniniRuntime* (*runtime_create)(void* entry, BerniniLogger*, BerniniSink error) noexcept;
    void (*runtime_destroy)(BerniniRuntime*) noexcept;
    BerniniEngine* (*runtime_deserialize)(
        BerniniRuntime*, void const* plan, size_t size, BerniniSink error) noexcept;

    void (*engine_destroy)(BerniniEngine*) noexcept;
    int32_t (*engine_tensor_count)(BerniniEngine*) noexcept;
    bool (*engine_tensor)(BerniniEngine*, int32_t index, BerniniTensor*) noexcept;
    int32_t (*engine_profile_count)(BerniniEngine*) noexcept;
    void (*engine_profile_shape)(
        BerniniEngine*, char const* input, int32_t profile, BerniniBound, BerniniDims*) noexcept;
    int64_t (*engine_activation_bytes)(BerniniEngine*, int32_t profile) noexcept;
    int32_t (*engine_layer_count)(BerniniEngine*) noexcept;
    bool (*engine_layers)(BerniniEngine*, BerniniSink json, BerniniSink error) noexcept;

    // A context whose activation memory the caller owns. `stream` is a CUstream.
    BerniniContext* (*context_create)(BerniniEngine*, BerniniSink error) noexcept;
    void (*context_destroy)(BerniniContext*) noexcept;
    bool (*context_set_profile)(
        BerniniContext*, int32_t profile, void* stream, BerniniSink error) noexcept;
    void (*context_set_memory)(BerniniContext*, uint64_t address, int64_t bytes) noexcept;
    bool (*context_set_shape)(BerniniContext*, char const* input, BerniniDims const*) noexcept;
    void (*context_shape)(BerniniContext*, char const* tensor, BerniniDims*) noexcept;
    bool (*context_bind)(BerniniContext*, char const* tensor, uint64_t address) noexcept;
    bool (*context_enqueue)(BerniniContext*, void* stream, BerniniSink error) noexcept;
    void (*context_set_profiler)(BerniniContext*, BerniniProfiler*) noexcept;  // null: none

    BerniniProfiler* (*profiler_create)(
        void* user, void (*report)(void* user, char const* layer, float ms) noexcept) noexcept;
    void (*profiler_destroy)(BerniniProfiler*) noexcept;
};

// The only symbol of the shim.
BerniniShim const* bernini_shim() noexcept;
}

#endif
