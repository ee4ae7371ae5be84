#include "quantize.h"
#include "sizes.h"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <algorithm>

namespace bernini {
namespace {

constexpr int kWARP = 32;
constexpr int kVECTOR = 8;                          // channels of one 16-byte load
constexpr int kHALF = kHEAD / 2;                    // distance of rotation partners
constexpr int kTHREADS_PER_HEAD = kHALF / kVECTOR;  // each holds a vector of either half

struct Launch {
    Operand operands[3];
    int32_t heads;
    float eps;
    Scalars values;
    Scalars* scalars;
};

__device__ void load(__nv_bfloat16 const* from, float (&to)[kVECTOR]) {
    uint4 const bits = *reinterpret_cast<uint4 const*>(from);
    auto const* pairs = reinterpret_cast<__nv_bfloat162 const*>(&bits);
#pragma unroll
    for (int i = 0; i < kVECTOR / 2; ++i) {
        float2 const pair = __bfloat1622float2(pairs[i]);
        to[2 * i] = pair.x;
        to[2 * i + 1] = pair.y;
    }
}

__device__ void load(float const* from, float (&to)[kVECTOR]) {
#pragma unroll
    for (int i = 0; i < kVECTOR; i += 4) {
        float4 const four = *reinterpret_cast<float4 const*>(from + i);
        to[i] = four.x;
        to[i + 1] = four.y;
        to[i + 2] = four.z;
        to[i + 3] = four.w;
    }
}

// Rounds to nearest even; what is above 448 becomes 448.
__device__ void store(float const (&values)[kVECTOR], float inverse_scale, uint8_t* to) {
    union {
        uint2 bits;
        __nv_fp8x2_storage_t pairs[kVECTOR / 2];
    } codes;
#pragma unroll
    for (int i = 0; i < kVECTOR / 2; ++i) {
        float2 const pair{values[2 * i] * inverse_scale, values[2 * i + 1] * inverse_scale};
        codes.pairs[i] = __nv_cvt_float2_to_fp8x2(pair, __NV_SATFINITE, __NV_E4M3);
    }
    *reinterpret_cast<uint2*>(to) = codes.bits;
}

// Sum over the block; every thread must come here.
__device__ float block_sum(float value) {
    __shared__ float partial[kWARP];
#pragma unroll
    for (int offset = kWARP / 2; offset; offset /= 2)
        value += __shfl_xor_sync(~0u, value, offset);
    if (threadIdx.x % kWARP == 0) partial[threadIdx.x / kWARP] = value;
    __syncthreads();
    float sum = 0;
    for (int warp = 0; warp < blockDim.x / kWARP; ++warp) sum += partial[warp];
    return sum;
}

// One block per row of one operand. A thread holds channels [at, at + 8) of a head and their
// partners at + 64. The last warp may have threads without a head.
__global__ void quantize_kernel(Launch const launch) {
    Operand const& operand = launch.operands[blockIdx.y];
    int const row = blockIdx.x;
    if (row == 0 && blockIdx.y == 0 && threadIdx.x == 0) *launch.scalars = launch.values;
    if (row >= operand.rows) return;

    int const head = threadIdx.x / kTHREADS_PER_HEAD;
    int const at = threadIdx.x % kTHREADS_PER_HEAD * kVECTOR;
    bool const has_head = head < launch.heads;
    int64_t const token_major = (int64_t{row} * launch.heads + head) * kHEAD + at;
    int64_t const head_major = (int64_t{head} * operand.rows + row) * kHEAD + at;

    float low[kVECTOR] = {}, high[kVECTOR] = {};
    if (has_head) {
        auto const* values = static_cast<__nv_bfloat16 const*>(operand.values);
        values += operand.head_major ? head_major : token_major;
        load(values, low);
        load(values + kHALF, high);
    }
    if (operand.norm) {
        float squares = 0;
#pragma unroll
        for (int i = 0; i < kVECTOR; ++i) squares += low[i] * low[i] + high[i] * high[i];
        float const mean = block_sum(squares) / static_cast<float>(launch.heads * kHEAD);
        float const inverse_rms = rsqrtf(mean + launch.eps);
        if (has_head) {
            auto const* norm = static_cast<__nv_bfloat16 const*>(operand.norm) + head * kHEAD + at;
            float low_weight[kVECTOR], high_weight[kVECTOR];
            load(norm, low_weight);
            load(norm + kHALF, high_weight);
#pragma unroll
            for (int i = 0; i < kVECTOR; ++i) {
                low[i] *= inverse_rms * low_weight[i];
                high[i] *= inverse_rms * high_weight[i];
            }
        }
    }
    if (!has_head) return;
    if (operand.cos) {
        float cos[kVECTOR], sin[kVECTOR];
        load(operand.cos + int64_t{row} * kHALF + at, cos);
        load(operand.sin + int64_t{row} * kHALF + at, sin);
#pragma unroll
        for (int i = 0; i < kVECTOR; ++i) {
            float const x = low[i], y = high[i];
            low[i] = x * cos[i] - y * sin[i];
            high[i] = y * cos[i] + x * sin[i];
        }
    }
    float const inverse_scale = 1 / operand.scale;
    store(low, inverse_scale, operand.codes + token_major);
    store(high, inverse_scale, operand.codes + token_major + kHALF);
}

}  // namespace

void quantize(Operand const& q, Operand const& k, Operand const& v, int32_t heads, float eps,
    Scalars const& values, Scalars* scalars, cudaStream_t stream) noexcept {
    Launch const launch{{q, k, v}, heads, eps, values, scalars};
    int const threads = (heads * kTHREADS_PER_HEAD + kWARP - 1) / kWARP * kWARP;
    auto const rows = static_cast<unsigned>(std::max({q.rows, k.rows, v.rows}));
    quantize_kernel<<<dim3(rows, 3), threads, 0, stream>>>(launch);
}

char const* launch_error() noexcept {
    cudaError_t const error = cudaGetLastError();
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace bernini
