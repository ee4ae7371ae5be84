//! ONNX graphs to TensorRT engines.
