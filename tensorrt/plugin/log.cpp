#include "log.h"

#include <NvInferRuntime.h>

#include <atomic>

namespace bernini {
namespace {
std::atomic<nvinfer1::ILoggerFinder*> finder{nullptr};
}

void log_error(std::string const& text) noexcept {
    try {
        auto* const known = finder.load();
        auto* const logger = known ? known->findLogger() : nullptr;
        if (logger)
            logger->log(nvinfer1::ILogger::Severity::kERROR, ("Fp8Attention: " + text).c_str());
    } catch (...) {
    }
}

}  // namespace bernini

// IPluginRegistry::loadLibrary calls it first.
extern "C" __attribute__((visibility("default"))) void setLoggerFinder(
    nvinfer1::ILoggerFinder* finder) {
    bernini::finder = finder;
}
