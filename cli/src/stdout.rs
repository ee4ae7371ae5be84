//! Standard output whose reader may leave early: `bernini … | head`.
//!
//! Rust's own `println!` panics there. This one says nothing more, and the verb goes on: files that
//! were asked for are still written, and the exit code is that of the work.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// Why nothing more can be printed.
static CLOSED: OnceLock<io::Error> = OnceLock::new();

/// Shadows the standard macro in every module of this crate, which is why this module is the first.
macro_rules! println {
    ($($arguments:tt)*) => {
        $crate::stdout::line(std::format_args!($($arguments)*))
    };
}

/// Prints a line, if there is somebody who reads it.
pub fn line(line: Arguments<'_>) {
    if CLOSED.get().is_none() {
        note(writeln!(io::stdout(), "{line}"));
    }
}

/// Prints what is left. An error is one that a user should know of: a full disk, not a reader who
/// has seen enough.
pub fn finish() -> io::Result<()> {
    note(io::stdout().flush());
    match CLOSED.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(io::Error::new(error.kind(), format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn note(written: io::Result<()>) {
    if let Err(error) = written {
        // Only the first error counts.
        let _ = CLOSED.set(error);
    }
}
