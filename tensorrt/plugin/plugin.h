// TensorRT's view of the node: domain `bernini`, Fp8Attention, version 2.
//
// Inputs, bf16 but for the angles; C = heads × 128, S queries, T keys:
//   self attention (rope = 1): q, k, v [1, S, C] as the linears give them, norm_q, norm_k [C],
//     cos, sin f32 [S, 64]
//   cross attention (rope = 0): q [1, S, C], keys (normalised), values [1, heads, T, 128],
//     norm_q [C]
// Output: E4M3 [1, S, C], attention / out_scale.
//
// q and k: RMS norm over C, times the weight, rotation of halves (self attention), then rounded to
// E4M3 with q_scale and k_scale; v is rounded with v_scale. With center_keys = 1 (self attention
// only, else 0) the mean over all tokens of every channel, in f32, is subtracted from k before it is
// rounded, which softmax does not see; there is no padding, so every row is a token. Probabilities
// exp(s − max) are rounded as 448 × p; the output is Σ p v / Σ p in f32, rounded with out_scale.
//
// A plan also says, in a field called sizes, which pairs (S, T) its profiles were made for: cuDNN's
// plans for them are made while the engine is loaded.
#ifndef BERNINI_PLUGIN_PLUGIN_H
#define BERNINI_PLUGIN_PLUGIN_H

#include "sizes.h"

#include <NvInferRuntime.h>

#include <array>
#include <memory>
#include <mutex>
#include <vector>

namespace bernini {

constexpr char const* kNAME = "Fp8Attention";
constexpr char const* kVERSION = "2";
constexpr char const* kNAMESPACE = "bernini";
constexpr char const* kSIZES = "sizes";  // field of a plan, not of the ONNX node

// The attributes as TensorRT's fields, pointing into `attributes`.
std::array<nvinfer1::PluginField, 8> fields_of(Attributes const& attributes);

// Pairs of queries and keys of all profiles; all clones of one node share them.
class ProfileSizes {
public:
    void add(Sizes const& sizes);
    std::vector<int32_t> pairs() const;

private:
    mutable std::mutex mutex_;
    std::vector<Sizes> sizes_;
};

class Fp8Attention final : public nvinfer1::IPluginV3,
                           public nvinfer1::IPluginV3OneCore,
                           public nvinfer1::IPluginV3OneBuild,
                           public nvinfer1::IPluginV3OneRuntime {
public:
    explicit Fp8Attention(Attributes const& attributes,
        std::shared_ptr<ProfileSizes> sizes = std::make_shared<ProfileSizes>());

    nvinfer1::IPluginCapability* getCapabilityInterface(
        nvinfer1::PluginCapabilityType type) noexcept override;
    nvinfer1::IPluginV3* clone() noexcept override;

    char const* getPluginName() const noexcept override { return kNAME; }
    char const* getPluginVersion() const noexcept override { return kVERSION; }
    char const* getPluginNamespace() const noexcept override { return kNAMESPACE; }

    int32_t getNbOutputs() const noexcept override { return 1; }
    int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t output_count,
        nvinfer1::DataType const* inputs, int32_t input_count) const noexcept override;
    int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t input_count,
        nvinfer1::DimsExprs const* shape_inputs, int32_t shape_input_count,
        nvinfer1::DimsExprs* outputs, int32_t output_count,
        nvinfer1::IExprBuilder& builder) noexcept override;
    bool supportsFormatCombination(int32_t position,
        nvinfer1::DynamicPluginTensorDesc const* tensors, int32_t input_count,
        int32_t output_count) noexcept override;
    int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t input_count,
        nvinfer1::DynamicPluginTensorDesc const* outputs, int32_t output_count) noexcept override;
    size_t getWorkspaceSize(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t input_count,
        nvinfer1::DynamicPluginTensorDesc const* outputs,
        int32_t output_count) const noexcept override;

    int32_t onShapeChange(nvinfer1::PluginTensorDesc const* inputs, int32_t input_count,
        nvinfer1::PluginTensorDesc const* outputs, int32_t output_count) noexcept override;
    int32_t enqueue(nvinfer1::PluginTensorDesc const* input_descs,
        nvinfer1::PluginTensorDesc const* output_descs, void const* const* inputs,
        void* const* outputs, void* workspace, cudaStream_t stream) noexcept override;
    nvinfer1::IPluginV3* attachToContext(
        nvinfer1::IPluginResourceContext* context) noexcept override;
    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override;

private:
    Attributes attributes_;
    std::shared_ptr<ProfileSizes> sizes_;
    std::vector<int32_t> pairs_;  // of sizes_, kept for TensorRT to read
    std::vector<nvinfer1::PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_;
};

}  // namespace bernini

#endif
