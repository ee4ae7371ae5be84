// Scaled dot-product attention of E4M3 codes by cuDNN.
#ifndef BERNINI_PLUGIN_SDPA_H
#define BERNINI_PLUGIN_SDPA_H

#include "quantize.h"
#include "sizes.h"

#include <memory>

namespace bernini {

// cuDNN's plan for one device, number of heads and sizes.
class Sdpa {
public:
    // The plan for the current device, made at the first call and kept until the process ends.
    // Takes up to seconds where it is made. Throws a std::runtime_error.
    static Sdpa const* find(int32_t heads, Sizes const& sizes);

    // Scratch memory of `run`.
    int64_t workspace_bytes() const;

    // Queues the attention: q, k, v and out are E4M3 [rows, heads, 128]. Throws.
    void run(void const* q, void const* k, void const* v, void* out, Scalars* scalars,
        void* workspace, cudaStream_t stream) const;

    Sdpa(Sdpa const&) = delete;
    Sdpa& operator=(Sdpa const&) = delete;

private:
    struct Plan;
    struct Device;
    explicit Sdpa(std::unique_ptr<Plan> plan);
    ~Sdpa();

    std::unique_ptr<Plan> plan_;
};

}  // namespace bernini

#endif
