//! TensorRT's log lines, kept for error messages.

use std::{
    collections::VecDeque,
    ffi::{CStr, c_char, c_void},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Lines kept; older ones are dropped.
const LINES: usize = 200;
/// Longest line kept, in bytes; some list every tactic.
const LINE_BYTES: usize = 2000;

/// The last warnings and errors of TensorRT, from all threads.
#[derive(Default)]
pub(crate) struct Log(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    lines: VecDeque<String>,
    /// Lines ever received.
    received: usize,
}

impl Log {
    /// Marks now, for [`Log::since`].
    pub(crate) fn mark(&self) -> usize {
        self.lines().received
    }

    /// Lines received since the mark.
    pub(crate) fn since(&self, mark: usize) -> Vec<String> {
        let lines = self.lines();
        let count = lines.received.saturating_sub(mark).min(lines.lines.len());
        lines.lines.iter().skip(lines.lines.len() - count).cloned().collect()
    }

    fn push(&self, severity: i32, text: &str) {
        let level = ["internal error", "error"].get(usize::try_from(severity).unwrap_or(2));
        let end = (0..=text.len().min(LINE_BYTES)).rfind(|&end| text.is_char_boundary(end));
        let text = &text[..end.unwrap_or(0)];
        let mut lines = self.lines();
        if lines.lines.len() == LINES {
            lines.lines.pop_front();
        }
        lines.lines.push_back(format!("{}: {text}", level.unwrap_or(&"warning")));
        lines.received += 1;
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The logger's callback; `user` is a `Log`, `text` ends with a zero.
pub(crate) unsafe extern "C" fn receive(user: *mut c_void, severity: i32, text: *const c_char) {
    if text.is_null() {
        return;
    }
    // SAFETY: the logger is dropped before its `Log` (see library.rs); TensorRT passes C strings.
    let (log, text) = unsafe { (&*user.cast::<Log>(), CStr::from_ptr(text)) };
    log.push(severity, &text.to_string_lossy());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_since_a_mark() {
        let log = Log::default();
        log.push(1, "before");
        let mark = log.mark();
        assert!(log.since(mark).is_empty());
        log.push(0, "bad");
        log.push(2, "odd");
        assert_eq!(log.since(mark), ["internal error: bad", "warning: odd"]);
    }

    #[test]
    fn only_the_last_lines_are_kept_and_long_ones_cut_at_a_character() {
        let log = Log::default();
        for i in 0..LINES + 7 {
            log.push(1, &i.to_string());
        }
        let lines = log.since(0);
        assert_eq!((lines.len(), lines[0].as_str()), (LINES, "error: 7"));
        log.push(1, &format!("a{}", "é".repeat(LINE_BYTES)));
        let last = log.since(log.mark() - 1);
        assert_eq!(last[0].len(), "error: ".len() + LINE_BYTES - 1);
    }
}
