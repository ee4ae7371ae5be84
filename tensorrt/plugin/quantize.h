// The kernels in front of the attention: RMS norm, rotation and rounding to E4M3 in one launch, and
// two before it where keys are centred.
#ifndef BERNINI_PLUGIN_QUANTIZE_H
#define BERNINI_PLUGIN_QUANTIZE_H

#include <cuda_runtime_api.h>

#include <cstdint>

namespace bernini {

// One of q, k and v. All pointers are device memory.
struct Operand {
    void const* values;   // bf16 [rows, heads, 128], or [heads, rows, 128] where `head_major`
    void const* norm;     // bf16 [heads × 128], weight of the RMS norm; null: no norm
    float const* cos;     // [rows, 64], rotation of halves: channel c with c + 64; null: none
    float const* sin;     // [rows, 64]
    float const* mean;    // [heads × 128], subtracted after the rotation; null: none
    uint8_t* codes;       // E4M3 [rows, heads, 128]
    int32_t rows;
    int32_t head_major;
    float scale;          // real value of one E4M3 unit
};

// Numbers that cuDNN reads from device memory.
struct Scalars {
    float q_scale, k_scale, v_scale;
    float p_inverse, p_factor;  // probabilities are rounded as p × p_factor
    float out_inverse;
    float amax_p, amax_out;     // written by cuDNN, read by nobody
};

// Queues kernels that write the mean over the rows of `keys`, normalised and rotated, to `mean`, f32
// [heads × 128]; `parts` is scratch of kMEAN_PARTS × heads × 128 floats. Sums are f32 in an order
// that depends on the number of rows alone. At most 128 heads.
void mean_of(Operand const& keys, int32_t heads, float eps, float* parts, float* mean,
    cudaStream_t stream) noexcept;

// Queues the kernel for all three operands, and `values` written to `scalars`. At most 128 heads.
void quantize(Operand const& q, Operand const& k, Operand const& v, int32_t heads, float eps,
    Scalars const& values, Scalars* scalars, cudaStream_t stream) noexcept;

// What CUDA has to say of the launches of this thread; null: nothing.
char const* launch_error() noexcept;

}  // namespace bernini

#endif
