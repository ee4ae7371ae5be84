// Errors of the plugin, told to TensorRT's logger: they end up in our error texts, never on stderr.
#ifndef BERNINI_PLUGIN_LOG_H
#define BERNINI_PLUGIN_LOG_H

#include <exception>
#include <string>

namespace bernini {

void log_error(std::string const& text) noexcept;

// Runs `body`, which tells its errors by throwing; they are logged and become `failure`.
template <typename R, typename F>
R logged(R failure, F&& body) noexcept {
    try {
        return body();
    } catch (std::exception const& exception) {
        log_error(exception.what());
    } catch (...) {
        log_error("unknown C++ exception");
    }
    return failure;
}

}  // namespace bernini

#endif
