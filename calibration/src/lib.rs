//! amax tables, precision policy and error measures.
