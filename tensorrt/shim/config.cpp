// Settings of a build: limits, profiles, timing cache, progress.
#include "common.h"

namespace bernini {
namespace {

BerniniConfig* config_create(BerniniBuilder* builder, BerniniSink error) noexcept {
    return guarded<BerniniConfig*>(
        error, nullptr, [&] { return ours(theirs(builder)->createBuilderConfig()); });
}

void config_set_workspace(BerniniConfig* config, size_t bytes) noexcept {
    theirs(config)->setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, bytes);
}

void config_set_optimization_level(BerniniConfig* config, int32_t level) noexcept {
    theirs(config)->setBuilderOptimizationLevel(level);
}

void config_set_detailed(BerniniConfig* config, bool detailed) noexcept {
    using nvinfer1::ProfilingVerbosity;
    theirs(config)->setProfilingVerbosity(
        detailed ? ProfilingVerbosity::kDETAILED : ProfilingVerbosity::kLAYER_NAMES_ONLY);
}

void config_set_monitor(BerniniConfig* config, BerniniMonitor* monitor) noexcept {
    theirs(config)->setProgressMonitor(theirs(monitor));
}

bool config_set_cache(BerniniConfig* config, BerniniCache* cache) noexcept {
    bool const ignore_mismatch = false;  // timings of another GPU would choose wrong kernels
    return theirs(config)->setTimingCache(*theirs(cache), ignore_mismatch);
}

int32_t config_add_profile(BerniniConfig* config, BerniniProfile* profile) noexcept {
    return theirs(config)->addOptimizationProfile(theirs(profile));
}

BerniniProfile* profile_create(BerniniBuilder* builder, BerniniSink error) noexcept {
    return guarded<BerniniProfile*>(
        error, nullptr, [&] { return ours(theirs(builder)->createOptimizationProfile()); });
}

bool profile_set(BerniniProfile* profile, char const* input, BerniniBound bound,
    BerniniDims const* dims) noexcept {
    auto const selector = static_cast<nvinfer1::OptProfileSelector>(bound);
    return theirs(profile)->setDimensions(input, selector, theirs(*dims));
}

BerniniCache* cache_create(
    BerniniConfig* config, void const* data, size_t size, BerniniSink error) noexcept {
    return guarded<BerniniCache*>(
        error, nullptr, [&] { return ours(theirs(config)->createTimingCache(data, size)); });
}

BerniniMemory* config_serialize_cache(BerniniConfig* config, BerniniSink error) noexcept {
    return guarded<BerniniMemory*>(error, nullptr, [&]() -> BerniniMemory* {
        auto const* cache = theirs(config)->getTimingCache();
        return cache ? ours(cache->serialize()) : nullptr;
    });
}

}  // namespace

void fill_config(BerniniShim& table) noexcept {
    table.config_create = config_create;
    table.config_destroy = destroy<nvinfer1::IBuilderConfig>;
    table.config_set_workspace = config_set_workspace;
    table.config_set_optimization_level = config_set_optimization_level;
    table.config_set_detailed = config_set_detailed;
    table.config_set_monitor = config_set_monitor;
    table.config_set_cache = config_set_cache;
    table.config_serialize_cache = config_serialize_cache;
    table.config_add_profile = config_add_profile;
    table.profile_create = profile_create;
    table.profile_set = profile_set;
    table.cache_create = cache_create;
    table.cache_destroy = destroy<nvinfer1::ITimingCache>;
}

}  // namespace bernini
