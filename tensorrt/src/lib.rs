//! Safe TensorRT for the builder and the runner.
