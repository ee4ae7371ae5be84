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
constexpr int kMAX_THREADS = 1024;                  // of 128 heads

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

__device__ void store(float const (&values)[kVECTOR], float* to) {
#pragma unroll
    for (int i = 0; i < kVECTOR; i += 4)
        *reinterpret_cast<float4*>(to + i) =
            float4{values[i], values[i + 1], values[i + 2], values[i + 3]};
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

// Channels [at, at + 8) of a head, which a thread works on together with their partners at + 64. The
// last warp may have threads without a head.
struct Place {
    int head, at;
    bool exists;

    __device__ explicit Place(int heads)
        : head(threadIdx.x / kTHREADS_PER_HEAD), at(threadIdx.x % kTHREADS_PER_HEAD * kVECTOR),
          exists(head < heads) {}
    __device__ int channel() const { return head * kHEAD + at; }
};

// A thread's part of a row, normalised and rotated; every thread of the block must come here.
__device__ void read(Operand const& operand, int heads, float eps, int row, Place const& place,
    float (&low)[kVECTOR], float (&high)[kVECTOR]) {
    if (place.exists) {
        int64_t const head_major = (int64_t{place.head} * operand.rows + row) * kHEAD + place.at;
        int64_t const token_major = int64_t{row} * heads * kHEAD + place.channel();
        auto const* values = static_cast<__nv_bfloat16 const*>(operand.values);
        values += operand.head_major ? head_major : token_major;
        load(values, low);
        load(values + kHALF, high);
    }
    if (operand.norm) {
        float squares = 0;
#pragma unroll
        for (int i = 0; i < kVECTOR; ++i) squares += low[i] * low[i] + high[i] * high[i];
        float const mean = block_sum(squares) / static_cast<float>(heads * kHEAD);
        float const inverse_rms = rsqrtf(mean + eps);
        if (place.exists) {
            auto const* norm = static_cast<__nv_bfloat16 const*>(operand.norm) + place.channel();
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
    if (operand.cos && place.exists) {
        float cos[kVECTOR], sin[kVECTOR];
        load(operand.cos + int64_t{row} * kHALF + place.at, cos);
        load(operand.sin + int64_t{row} * kHALF + place.at, sin);
#pragma unroll
        for (int i = 0; i < kVECTOR; ++i) {
            float const x = low[i], y = high[i];
            low[i] = x * cos[i] - y * sin[i];
            high[i] = y * cos[i] + x * sin[i];
        }
    }
}

// One block per row of one operand.
__global__ void quantize_kernel(Launch const launch) {
    Operand const& operand = launch.operands[blockIdx.y];
    int const row = blockIdx.x;
    if (row == 0 && blockIdx.y == 0 && threadIdx.x == 0) *launch.scalars = launch.values;
    if (row >= operand.rows) return;

    Place const place(launch.heads);
    float low[kVECTOR] = {}, high[kVECTOR] = {};
    read(operand, launch.heads, launch.eps, row, place, low, high);
    if (!place.exists) return;
    if (operand.mean) {
        float low_mean[kVECTOR], high_mean[kVECTOR];
        load(operand.mean + place.channel(), low_mean);
        load(operand.mean + place.channel() + kHALF, high_mean);
#pragma unroll
        for (int i = 0; i < kVECTOR; ++i) {
            low[i] -= low_mean[i];
            high[i] -= high_mean[i];
        }
    }
    uint8_t* const codes = operand.codes + int64_t{row} * launch.heads * kHEAD + place.channel();
    float const inverse_scale = 1 / operand.scale;
    store(low, inverse_scale, codes);
    store(high, inverse_scale, codes + kHALF);
}

// Block `part` sums rows part, part + kMEAN_PARTS, …: parts [kMEAN_PARTS, heads × 128].
__global__ void __launch_bounds__(kMAX_THREADS) sum_kernel(
    Operand const keys, int heads, float eps, float* parts) {
    Place const place(heads);
    float low_sum[kVECTOR] = {}, high_sum[kVECTOR] = {};
    for (int row = blockIdx.x; row < keys.rows; row += kMEAN_PARTS) {
        float low[kVECTOR] = {}, high[kVECTOR] = {};
        read(keys, heads, eps, row, place, low, high);
#pragma unroll
        for (int i = 0; i < kVECTOR; ++i) {
            low_sum[i] += low[i];
            high_sum[i] += high[i];
        }
        __syncthreads();  // before the next row's norm writes where threads still read this one's
    }
    if (!place.exists) return;
    float* const sums = parts + int64_t{blockIdx.x} * heads * kHEAD + place.channel();
    store(low_sum, sums);
    store(high_sum, sums + kHALF);
}

// Each warp sums some of the parts of the block's 32 channels, the first one then all of them.
__global__ void mean_kernel(float const* parts, int channels, float rows, float* mean) {
    __shared__ float sums[kWARP][kWARP];
    int const channel = blockIdx.x * kWARP + threadIdx.x;
    float sum = 0;
    for (int part = threadIdx.y; part < kMEAN_PARTS; part += kWARP)
        sum += parts[int64_t{part} * channels + channel];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y) return;
    float total = 0;
    for (int warp = 0; warp < kWARP; ++warp) total += sums[warp][threadIdx.x];
    mean[channel] = total / rows;
}

// Threads of a block that holds a row, in full warps.
int threads_of(int32_t heads) {
    return (heads * kTHREADS_PER_HEAD + kWARP - 1) / kWARP * kWARP;
}

}  // namespace

void mean_of(Operand const& keys, int32_t heads, float eps, float* parts, float* mean,
    cudaStream_t stream) noexcept {
    sum_kernel<<<kMEAN_PARTS, threads_of(heads), 0, stream>>>(keys, heads, eps, parts);
    int const channels = heads * kHEAD;
    dim3 const threads(kWARP, kWARP);
    mean_kernel<<<channels / kWARP, threads, 0, stream>>>(parts, channels, keys.rows, mean);
}

void quantize(Operand const& q, Operand const& k, Operand const& v, int32_t heads, float eps,
    Scalars const& values, Scalars* scalars, cudaStream_t stream) noexcept {
    Launch const launch{{q, k, v}, heads, eps, values, scalars};
    auto const rows = static_cast<unsigned>(std::max({q.rows, k.rows, v.rows}));
    quantize_kernel<<<dim3(rows, 3), threads_of(heads), 0, stream>>>(launch);
}

char const* launch_error() noexcept {
    cudaError_t const error = cudaGetLastError();
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace bernini
