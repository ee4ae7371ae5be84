// What NvInferRuntimeBase.h needs of the CUDA toolkit: two names of pointers.
#ifndef BERNINI_STUB_CUDA_RUNTIME_API_H
#define BERNINI_STUB_CUDA_RUNTIME_API_H
typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;
#endif
