//! Checkpoints and exports as files on disk.

#![cfg(test)]

mod attacks;
mod common;
mod export;
mod package;
mod partial;
