#include "cudnn_library.h"

#include <cudnn.h>
#include <dlfcn.h>

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace {

constexpr char const* kLIBRARY = "libcudnn.so.9";

// The functions that cudnn-frontend calls; the linker names any that a newer one adds.
#define CUDNN_FUNCTIONS(_)                                                                         \
    _(cudnnBackendCreateDescriptor)                                                                \
    _(cudnnBackendDestroyDescriptor)                                                               \
    _(cudnnBackendExecute)                                                                         \
    _(cudnnBackendFinalize)                                                                        \
    _(cudnnBackendGetAttribute)                                                                    \
    _(cudnnBackendSetAttribute)                                                                    \
    _(cudnnCreate)                                                                                 \
    _(cudnnCreateFilterDescriptor)                                                                 \
    _(cudnnDestroyFilterDescriptor)                                                                \
    _(cudnnGetErrorString)                                                                         \
    _(cudnnGetLastErrorString)                                                                     \
    _(cudnnGetStream)                                                                              \
    _(cudnnGetVersion)                                                                             \
    _(cudnnReorderFilterAndBias)                                                                   \
    _(cudnnSetFilterNdDescriptor)                                                                  \
    _(cudnnSetStream)

struct Cudnn {
#define MEMBER(name) decltype(&::name) name;
    CUDNN_FUNCTIONS(MEMBER)
#undef MEMBER
};

std::string path() {
    char const* folder = std::getenv("CUDNN_LIB_DIR");
    return folder && *folder ? std::string(folder) + "/" + kLIBRARY : kLIBRARY;
}

Cudnn open() {
    // Never closed: cuDNN keeps threads and static state.
    void* library = dlopen(path().c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library)
        throw std::runtime_error(std::string("cuDNN 9 cannot be opened: ") + dlerror() +
            "; set CUDNN_LIB_DIR to the folder of " + kLIBRARY);
    auto symbol = [&](char const* name) {
        void* found = dlsym(library, name);
        if (!found)
            throw std::runtime_error(path() + " has no function " + name +
                "; set CUDNN_LIB_DIR to the folder of an unmodified cuDNN 9");
        return found;
    };
    Cudnn cudnn{};
#define FIND(name) cudnn.name = reinterpret_cast<decltype(&::name)>(symbol(#name));
    CUDNN_FUNCTIONS(FIND)
#undef FIND
    return cudnn;
}

// A failure is not remembered, so the next call says it again.
Cudnn const& cudnn() {
    static Cudnn const opened = open();
    return opened;
}

}  // namespace

void bernini::open_cudnn() { cudnn(); }

// The forwards are reached through cudnn-frontend, after `open_cudnn`.
extern "C" {
cudnnStatus_t cudnnBackendCreateDescriptor(
    cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* descriptor) {
    return cudnn().cudnnBackendCreateDescriptor(type, descriptor);
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
    return cudnn().cudnnBackendDestroyDescriptor(descriptor);
}
cudnnStatus_t cudnnBackendExecute(
    cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t variant_pack) {
    return cudnn().cudnnBackendExecute(handle, plan, variant_pack);
}
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
    return cudnn().cudnnBackendFinalize(descriptor);
}
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor,
    cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t requested,
    int64_t* count, void* elements) {
    return cudnn().cudnnBackendGetAttribute(descriptor, name, type, requested, count, elements);
}
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
    cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
    void const* elements) {
    return cudnn().cudnnBackendSetAttribute(descriptor, name, type, count, elements);
}
cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) { return cudnn().cudnnCreate(handle); }
cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t* descriptor) {
    return cudnn().cudnnCreateFilterDescriptor(descriptor);
}
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t descriptor) {
    return cudnn().cudnnDestroyFilterDescriptor(descriptor);
}
char const* cudnnGetErrorString(cudnnStatus_t status) {
    return cudnn().cudnnGetErrorString(status);
}
void cudnnGetLastErrorString(char* message, size_t size) {
    cudnn().cudnnGetLastErrorString(message, size);
}
cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream) {
    return cudnn().cudnnGetStream(handle, stream);
}
size_t cudnnGetVersion() { return cudnn().cudnnGetVersion(); }
cudnnStatus_t cudnnReorderFilterAndBias(cudnnHandle_t handle,
    cudnnFilterDescriptor_t const descriptor, cudnnReorderType_t type, void const* filter,
    void* reordered_filter, int reorder_bias, void const* bias, void* reordered_bias) {
    return cudnn().cudnnReorderFilterAndBias(
        handle, descriptor, type, filter, reordered_filter, reorder_bias, bias, reordered_bias);
}
cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t descriptor,
    cudnnDataType_t data_type, cudnnTensorFormat_t format, int rank, int const* sizes) {
    return cudnn().cudnnSetFilterNdDescriptor(descriptor, data_type, format, rank, sizes);
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    return cudnn().cudnnSetStream(handle, stream);
}
}
