//! The `bernini` command.
fn main() {}
