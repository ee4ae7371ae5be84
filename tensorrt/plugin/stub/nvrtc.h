// cudnn-frontend has engines of its own for Blackwell that compile kernels with NVRTC. Ours are
// cuDNN's, so NVRTC is neither needed nor linked: this is what the headers name of it, and every
// call fails.
#ifndef BERNINI_STUB_NVRTC_H
#define BERNINI_STUB_NVRTC_H

#include <cstddef>

using nvrtcProgram = struct _nvrtcProgram*;
enum nvrtcResult { NVRTC_SUCCESS = 0, NVRTC_ERROR_INTERNAL_ERROR = 11 };

inline nvrtcResult nvrtcCreateProgram(
    nvrtcProgram*, char const*, char const*, int, char const* const*, char const* const*) {
    return NVRTC_ERROR_INTERNAL_ERROR;
}
inline nvrtcResult nvrtcDestroyProgram(nvrtcProgram*) { return NVRTC_ERROR_INTERNAL_ERROR; }
inline nvrtcResult nvrtcCompileProgram(nvrtcProgram, int, char const* const*) {
    return NVRTC_ERROR_INTERNAL_ERROR;
}
inline nvrtcResult nvrtcGetCUBIN(nvrtcProgram, char*) { return NVRTC_ERROR_INTERNAL_ERROR; }
inline nvrtcResult nvrtcGetCUBINSize(nvrtcProgram, size_t*) { return NVRTC_ERROR_INTERNAL_ERROR; }
inline nvrtcResult nvrtcGetPTX(nvrtcProgram, char*) { return NVRTC_ERROR_INTERNAL_ERROR; }
inline nvrtcResult nvrtcGetPTXSize(nvrtcProgram, size_t*) { return NVRTC_ERROR_INTERNAL_ERROR; }
inline nvrtcResult nvrtcGetProgramLog(nvrtcProgram, char*) { return NVRTC_ERROR_INTERNAL_ERROR; }
inline nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram, size_t*) {
    return NVRTC_ERROR_INTERNAL_ERROR;
}
inline char const* nvrtcGetErrorString(nvrtcResult) { return "built without NVRTC"; }

#endif
