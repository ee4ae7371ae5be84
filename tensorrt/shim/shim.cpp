// The table of functions.
#include "common.h"

static_assert(nvinfer1::Dims::MAX_DIMS == 8, "BerniniDims holds TensorRT's largest rank");

extern "C" BerniniShim const* bernini_shim() noexcept {
    static BerniniShim const shim = [] {
        BerniniShim table{};
        table.size = sizeof(BerniniShim);
        table.headers_major = NV_TENSORRT_MAJOR;
        bernini::fill_callbacks(table);
        bernini::fill_builder(table);
        bernini::fill_network(table);
        bernini::fill_config(table);
        bernini::fill_engine(table);
        bernini::fill_context(table);
        return table;
    }();
    return &shim;
}
