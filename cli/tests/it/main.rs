//! The command as a user sees it: exit codes, messages, files.
#![allow(clippy::unwrap_used)] // A test may panic.

mod bad_input;
mod bench;
mod build;
mod calibrate;
mod common;
mod config;
mod examples;
mod fidelity;
mod gpu;
mod inspect;
mod partial;
mod pipe;
mod run;
mod search;
mod verify;
