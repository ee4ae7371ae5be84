// cuDNN 9, opened when the first plan is made. cudnn_library.cpp defines the functions that
// cudnn-frontend calls, so that the plugin loads on machines without cuDNN.
#ifndef BERNINI_PLUGIN_CUDNN_LIBRARY_H
#define BERNINI_PLUGIN_CUDNN_LIBRARY_H

namespace bernini {

// Opens libcudnn.so.9 from $CUDNN_LIB_DIR, else where the loader looks; once per process. Throws a
// std::runtime_error that says what is missing.
void open_cudnn();

}  // namespace bernini

#endif
