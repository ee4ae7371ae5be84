//! Runs the Bernini pipeline on exported graphs or engines.
