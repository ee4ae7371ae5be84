// The node's contract: names, order, types and shapes of its inputs.
#ifndef BERNINI_PLUGIN_CONTRACT_H
#define BERNINI_PLUGIN_CONTRACT_H

#include "sizes.h"

#include <NvInferRuntime.h>

#include <vector>

namespace bernini {

// Order of the inputs; cross attention ends with the norm of q.
enum Input : int32_t { kQ, kK, kV, kNORM_Q, kNORM_K, kCOS, kSIN };

inline int32_t input_count(Attributes const& attributes) {
    return attributes.self_attention() ? kSIN + 1 : kNORM_Q + 1;
}

inline nvinfer1::DataType input_type(int32_t input) {
    return input == kCOS || input == kSIN ? nvinfer1::DataType::kFLOAT : nvinfer1::DataType::kBF16;
}

// Throws a std::runtime_error that names the first attribute without meaning.
void check(Attributes const& attributes);

// Sizes of inputs of these shapes; throws where they are not the contract's.
Sizes sizes_of(Attributes const& attributes, std::vector<nvinfer1::Dims> const& inputs);

}  // namespace bernini

#endif
