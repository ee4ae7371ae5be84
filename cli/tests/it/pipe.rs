//! Standard output that nobody reads to its end.

use std::fs::File;
use std::process::Stdio;

use crate::common::{TINY, command, text};

#[test]
fn a_reader_who_leaves_early_is_no_error() {
    let export = TINY.path("export");
    for arguments in [&["inspect", text(&export)][..], &["doctor", "--json"]] {
        let mut child =
            command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let result = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&result.stderr);
        assert_eq!((result.status.code(), &*error), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn the_work_goes_on_without_a_reader() {
    let (export, report) = (TINY.path("export"), TINY.path("unread.json"));
    let arguments = ["bench", text(&export), "--workload", "48x32x5,64x32x5", "--iterations", "1"];
    let mut child = command(&[&arguments[..], &["-o", text(&report)]].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    assert!(report.exists());
}

#[test]
fn a_full_disk_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let result = command(&["inspect", text(&TINY.path("export"))]).stdout(full).output().unwrap();
    let error = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(2), "{error}");
    assert!(error.contains("standard output") && !error.contains("panicked"), "{error}");
}
