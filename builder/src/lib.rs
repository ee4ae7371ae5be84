//! ONNX graphs to TensorRT engines. Empty in this version: the CPU path runs graphs as they are.
