//! Safe TensorRT for the builder and the runner. Empty in this version: the CPU path needs none.
