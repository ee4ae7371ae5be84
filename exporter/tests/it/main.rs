//! Checkpoints and exports as files on disk.

mod attacks;
mod common;
mod export;
