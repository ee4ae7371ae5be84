//! Typed graph builder, ONNX writer and the Bernini submodules as graphs.
