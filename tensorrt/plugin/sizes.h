// What decides a launch: attributes of the node, sizes of its tensors, and how the workspace is cut.
#ifndef BERNINI_PLUGIN_SIZES_H
#define BERNINI_PLUGIN_SIZES_H

#include <cstddef>
#include <cstdint>

namespace bernini {

constexpr int64_t kHEAD = 128;  // channels of a head
// Blocks that sum keys, each its share of the rows: as many as run at once on 132 multiprocessors,
// and the same number on every GPU, so that all of them get the same sums.
constexpr int64_t kMEAN_PARTS = 3 * 132;

// Attributes of the ONNX node. A scale is the real value of one E4M3 unit.
struct Attributes {
    int32_t heads = 0;
    int32_t rope = 0;  // 1: self attention with norms and rotation; 0: cross attention, cached keys
    int32_t center_keys = 0;  // 1: the keys' mean over tokens is subtracted; self attention only
    float eps = 0;
    float q_scale = 0;
    float k_scale = 0;
    float v_scale = 0;
    float out_scale = 0;

    bool self_attention() const { return rope == 1; }
    int64_t channels() const { return heads * kHEAD; }
};

struct Sizes {
    int64_t queries = 0;
    int64_t keys = 0;

    bool operator==(Sizes const& other) const {
        return queries == other.queries && keys == other.keys;
    }
};

// Offsets into the workspace, in bytes.
class Workspace {
public:
    Workspace(Attributes const& attributes, Sizes const& sizes) {
        int64_t const channels = attributes.channels();
        scalars = take(kSCALARS);
        q = take(sizes.queries * channels);
        k = take(sizes.keys * channels);
        v = take(sizes.keys * channels);
        int64_t const centered = attributes.center_keys ? channels * int64_t{sizeof(float)} : 0;
        mean = take(centered);
        mean_parts = take(kMEAN_PARTS * centered);
        // TensorRT asks for the workspace of the largest sizes only, and it must do for all smaller
        // ones; how much cuDNN wants at each is known only once its plan is made. So it gets an
        // amount that grows with the sizes, enough for 65,520 tokens with cuDNN 9.19, and a plan
        // that wants more is refused (onShapeChange).
        cudnn_bytes = (int64_t{1} << 20) + attributes.heads * sizes.queries * 16;
        cudnn = take(cudnn_bytes);
    }

    size_t bytes() const { return static_cast<size_t>(end_); }

    int64_t scalars;  // f32: inputs and outputs of cuDNN that are single numbers
    int64_t q, k, v;  // E4M3 [rows, heads, 128]
    int64_t mean, mean_parts;  // f32 [heads, 128], [kMEAN_PARTS, heads, 128]; nothing if not centred
    int64_t cudnn, cudnn_bytes;

private:
    static constexpr int64_t kSCALARS = 256;
    static constexpr int64_t kALIGNMENT = 1024;

    int64_t take(int64_t bytes) {
        int64_t const offset = end_;
        end_ += (bytes + kALIGNMENT - 1) / kALIGNMENT * kALIGNMENT;
        return offset;
    }

    int64_t end_ = 0;
};

}  // namespace bernini

#endif
