//! Checkpoint to ONNX graphs.
