// Networks and the ONNX parser that fills them.
#include "common.h"

#include <string>

namespace bernini {
namespace {

using CreateParser = void* (*)(void* network, void* logger, int version);

// Since 11 every network is strongly typed.
#if NV_TENSORRT_MAJOR == 10
constexpr uint32_t kNETWORK_FLAGS =
    1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#else
constexpr uint32_t kNETWORK_FLAGS = 0;
#endif

BerniniNetwork* network_create(BerniniBuilder* builder, BerniniSink error) noexcept {
    return guarded<BerniniNetwork*>(
        error, nullptr, [&] { return ours(theirs(builder)->createNetworkV2(kNETWORK_FLAGS)); });
}

int32_t network_tensor_count(BerniniNetwork* network, bool input) noexcept {
    return input ? theirs(network)->getNbInputs() : theirs(network)->getNbOutputs();
}

bool network_tensor(
    BerniniNetwork* network, bool input, int32_t index, BerniniTensor* out) noexcept {
    auto* tensor = input ? theirs(network)->getInput(index) : theirs(network)->getOutput(index);
    if (!tensor) return false;
    out->name = tensor->getName();
    out->dtype = static_cast<int32_t>(tensor->getType());
    out->input = input;
    out->host = tensor->isShapeTensor();
    out->dims = ours(tensor->getDimensions());
    return true;
}

bool network_set_input_shape(
    BerniniNetwork* network, int32_t index, BerniniDims const* dims) noexcept {
    auto* tensor = theirs(network)->getInput(index);
    if (!tensor) return false;
    tensor->setDimensions(theirs(*dims));
    return true;
}

int32_t network_layer_count(BerniniNetwork* network) noexcept {
    return theirs(network)->getNbLayers();
}

BerniniParser* parser_create(void* entry, BerniniNetwork* network, BerniniLogger* logger,
    BerniniSink error) noexcept {
    return guarded<BerniniParser*>(error, nullptr, [&] {
        auto create = reinterpret_cast<CreateParser>(entry);
        auto* parser = create(theirs(network), theirs(logger), NV_ONNX_PARSER_VERSION);
        return ours(static_cast<nvonnxparser::IParser*>(parser));
    });
}

std::string described(nvonnxparser::IParserError const& error) {
    std::string text = error.desc() ? error.desc() : "no description";
    if (error.nodeName() && *error.nodeName()) text.append(" at node ").append(error.nodeName());
    if (error.nodeOperator() && *error.nodeOperator())
        text.append(" (").append(error.nodeOperator()).append(")");
    return text;
}

bool parser_parse(BerniniParser* parser, void const* onnx, size_t size, char const* path,
    BerniniSink error) noexcept {
    return guarded(error, false, [&] {
        auto* onnx_parser = theirs(parser);
        bool const parsed = onnx_parser->parse(onnx, size, path);
        for (int i = 0; !parsed && i < onnx_parser->getNbErrors(); ++i) {
            if (i) write(error, "; ");
            write(error, described(*onnx_parser->getError(i)).c_str());
        }
        return parsed;
    });
}

}  // namespace

void fill_network(BerniniShim& table) noexcept {
    table.network_create = network_create;
    table.network_destroy = destroy<nvinfer1::INetworkDefinition>;
    table.network_tensor_count = network_tensor_count;
    table.network_tensor = network_tensor;
    table.network_set_input_shape = network_set_input_shape;
    table.network_layer_count = network_layer_count;
    table.parser_create = parser_create;
    table.parser_parse = parser_parse;
    table.parser_destroy = destroy<nvonnxparser::IParser>;
}

}  // namespace bernini
