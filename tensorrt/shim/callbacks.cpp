// TensorRT's interfaces that we implement: logger, progress monitor, profiler. Each passes what it
// is told to a function of the caller.
#include "common.h"

namespace bernini {
namespace {

class Logger final : public nvinfer1::ILogger {
public:
    using Log = void (*)(void*, int32_t, char const*) noexcept;
    Logger(void* user, Log log) noexcept : user_(user), log_(log) {}
    void log(Severity severity, nvinfer1::AsciiChar const* text) noexcept override {
        if (severity <= Severity::kWARNING) log_(user_, static_cast<int32_t>(severity), text);
    }

private:
    void* user_;
    Log log_;
};

class Monitor final : public nvinfer1::IProgressMonitor {
public:
    using Progress = bool (*)(void*, char const*, int32_t, int32_t) noexcept;
    Monitor(void* user, Progress progress) noexcept : user_(user), progress_(progress) {}
    void phaseStart(char const* phase, char const*, int32_t steps) noexcept override {
        progress_(user_, phase, 0, steps);
    }
    bool stepComplete(char const* phase, int32_t step) noexcept override {
        return progress_(user_, phase, step + 1, -1);
    }
    void phaseFinish(char const* phase) noexcept override { progress_(user_, phase, -1, -1); }

private:
    void* user_;
    Progress progress_;
};

class Profiler final : public nvinfer1::IProfiler {
public:
    using Report = void (*)(void*, char const*, float) noexcept;
    Profiler(void* user, Report report) noexcept : user_(user), report_(report) {}
    void reportLayerTime(char const* layer, float ms) noexcept override {
        report_(user_, layer, ms);
    }

private:
    void* user_;
    Report report_;
};

BerniniLogger* logger_create(void* user, Logger::Log log) noexcept {
    return ours(static_cast<nvinfer1::ILogger*>(new (std::nothrow) Logger(user, log)));
}

BerniniMonitor* monitor_create(void* user, Monitor::Progress progress) noexcept {
    auto* monitor = new (std::nothrow) Monitor(user, progress);
    return ours(static_cast<nvinfer1::IProgressMonitor*>(monitor));
}

BerniniProfiler* profiler_create(void* user, Profiler::Report report) noexcept {
    return ours(static_cast<nvinfer1::IProfiler*>(new (std::nothrow) Profiler(user, report)));
}

}  // namespace

void fill_callbacks(BerniniShim& table) noexcept {
    table.logger_create = logger_create;
    table.logger_destroy = destroy<nvinfer1::ILogger>;
    table.monitor_create = monitor_create;
    table.monitor_destroy = destroy<nvinfer1::IProgressMonitor>;
    table.profiler_create = profiler_create;
    table.profiler_destroy = destroy<nvinfer1::IProfiler>;
}

}  // namespace bernini
