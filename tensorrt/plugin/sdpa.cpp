#include "sdpa.h"

#include "cudnn_library.h"

#include <cstring>  // before cudnn_frontend.h, whose shim uses std::strlen without including it

#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>

#include <cmath>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <tuple>
#include <unordered_map>

namespace bernini {
namespace {

namespace fe = cudnn_frontend;
using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

// Names of the plan's tensors.
enum Uid : int64_t {
    kQ = 1, kK, kV, kOUT, kQ_SCALE, kK_SCALE, kV_SCALE, kP_INVERSE, kP_FACTOR, kOUT_INVERSE,
    kAMAX_P, kAMAX_OUT,
};

void require(fe::error_t status, std::string const& what) {
    if (!status.is_good()) throw std::runtime_error("cuDNN: " + what + ": " + status.get_message());
}

// E4M3 [rows, heads, 128] as cuDNN's [batch, heads, rows, 128].
void describe(fe::graph::Tensor_attributes& tensor, Uid uid, int64_t heads, int64_t rows) {
    int64_t const channels = heads * kHEAD;
    tensor.set_uid(uid)
        .set_dim({1, heads, rows, kHEAD})
        .set_stride({rows * channels, kHEAD, channels, 1})
        .set_data_type(fe::DataType_t::FP8_E4M3);
}

void describe_scalar(fe::graph::Tensor_attributes& tensor, Uid uid) {
    tensor.set_uid(uid)
        .set_dim({1, 1, 1, 1})
        .set_stride({1, 1, 1, 1})
        .set_data_type(fe::DataType_t::FLOAT);
}

std::shared_ptr<fe::graph::Graph> attention(int64_t heads, Sizes const& sizes) {
    auto graph = std::make_shared<fe::graph::Graph>();
    graph->set_io_data_type(fe::DataType_t::FP8_E4M3)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    auto codes = [&](Uid uid, int64_t rows) {
        fe::graph::Tensor_attributes tensor;
        describe(tensor, uid, heads, rows);
        return graph->tensor(tensor);
    };
    auto scalar = [&](Uid uid) {
        fe::graph::Tensor_attributes tensor;
        describe_scalar(tensor, uid);
        return graph->tensor(tensor);
    };
    Tensor q = codes(kQ, sizes.queries), k = codes(kK, sizes.keys), v = codes(kV, sizes.keys);
    auto options = fe::graph::SDPA_fp8_attributes()
                       .set_name("attention")
                       .set_generate_stats(false)
                       .set_attn_scale(1 / std::sqrt(static_cast<float>(kHEAD)));
    auto [out, stats, amax_p, amax_out] = graph->sdpa_fp8(q, k, v, scalar(kQ_SCALE),
        scalar(kK_SCALE), scalar(kV_SCALE), scalar(kP_INVERSE), scalar(kP_FACTOR),
        scalar(kOUT_INVERSE), options);
    static_cast<void>(stats);  // none: there is no backward pass
    describe(out->set_output(true), kOUT, heads, sizes.queries);
    if (amax_p) describe_scalar(amax_p->set_output(true), kAMAX_P);
    if (amax_out) describe_scalar(amax_out->set_output(true), kAMAX_OUT);
    return graph;
}

int current_device() {
    int device = 0;
    cudaError_t const error = cudaGetDevice(&device);
    if (error != cudaSuccess)
        throw std::runtime_error(std::string("CUDA: current device: ") + cudaGetErrorString(error));
    return device;
}

}  // namespace

// What all plans of a GPU share. A handle has one stream at a time, so whoever uses it holds the
// mutex. Nothing here is destroyed: cuDNN may be gone before static objects are.
struct Sdpa::Device {
    std::mutex mutex;
    cudnnHandle_t handle = nullptr;
    std::map<std::tuple<int32_t, int64_t, int64_t>, Sdpa*> plans;

    static Device& current() {
        static std::mutex mutex;
        static auto& devices = *new std::map<int, Device>;
        int const device = current_device();
        std::lock_guard<std::mutex> const lock(mutex);
        return devices[device];
    }

    void open() {
        if (handle) return;
        open_cudnn();
        cudnnStatus_t const status = cudnnCreate(&handle);
        if (status != CUDNN_STATUS_SUCCESS) {
            handle = nullptr;
            throw std::runtime_error(
                std::string("cuDNN: create a handle: ") + cudnnGetErrorString(status));
        }
    }
};

struct Sdpa::Plan {
    Device& device;
    std::shared_ptr<fe::graph::Graph> graph;
    int64_t workspace_bytes = 0;
};

Sdpa::Sdpa(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
Sdpa::~Sdpa() = default;

Sdpa const* Sdpa::find(int32_t heads, Sizes const& sizes) {
    Device& device = Device::current();
    std::lock_guard<std::mutex> const lock(device.mutex);
    auto const key = std::make_tuple(heads, sizes.queries, sizes.keys);
    if (auto known = device.plans.find(key); known != device.plans.end()) return known->second;
    device.open();
    auto graph = attention(heads, sizes);
    auto const what = "plan an attention of " + std::to_string(heads) + " heads, " +
        std::to_string(sizes.queries) + " queries, " + std::to_string(sizes.keys) + " keys";
    require(graph->validate(), what);
    require(graph->build_operation_graph(device.handle), what);
    require(graph->create_execution_plans({fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK}), what);
    require(graph->check_support(), what);
    require(graph->build_plans(fe::BuildPlanPolicy_t::HEURISTICS_CHOICE), what);
    int64_t workspace_bytes = 0;
    require(graph->get_workspace_size(workspace_bytes), what);
    auto plan = std::make_unique<Plan>(Plan{device, graph, workspace_bytes});
    return device.plans.emplace(key, new Sdpa(std::move(plan))).first->second;
}

int64_t Sdpa::workspace_bytes() const { return plan_->workspace_bytes; }

void Sdpa::run(void const* q, void const* k, void const* v, void* out, Scalars* scalars,
    void* workspace, cudaStream_t stream) const {
    auto input = [](void const* pointer) { return const_cast<void*>(pointer); };
    std::unordered_map<int64_t, void*> tensors{
        {kQ, input(q)}, {kK, input(k)}, {kV, input(v)}, {kOUT, out},
        {kQ_SCALE, &scalars->q_scale}, {kK_SCALE, &scalars->k_scale},
        {kV_SCALE, &scalars->v_scale}, {kP_INVERSE, &scalars->p_inverse},
        {kP_FACTOR, &scalars->p_factor}, {kOUT_INVERSE, &scalars->out_inverse},
        {kAMAX_P, &scalars->amax_p}, {kAMAX_OUT, &scalars->amax_out}};
    Device& device = plan_->device;
    std::lock_guard<std::mutex> const lock(device.mutex);
    cudnnStatus_t const status = cudnnSetStream(device.handle, stream);
    if (status != CUDNN_STATUS_SUCCESS)
        throw std::runtime_error(std::string("cuDNN: set a stream: ") + cudnnGetErrorString(status));
    require(plan_->graph->execute(device.handle, tensors, workspace), "run the attention");
}

}  // namespace bernini
