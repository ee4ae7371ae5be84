//! Checkpoints and exports of chosen parts.

use std::fs;

use crate::common::{TINY, call, succeed, text};

#[test]
fn chosen_components_are_written_inspected_and_exported() {
    let (checkpoint, out) = (TINY.path("partial"), TINY.path("partial_export"));
    let only = ["--only", "transformer,text_encoder"];
    succeed(&[&["synth", "--preset", "tiny", "-o", text(&checkpoint)], &only[..]].concat());
    let inspected = call(&["inspect", text(&checkpoint)]);
    let printed = String::from_utf8(inspected.stdout).unwrap();
    assert_eq!(inspected.status.code(), Some(1));
    let absent: Vec<_> = printed.lines().filter(|line| line.contains(": absent")).collect();
    assert_eq!(absent.len(), 7, "{printed}");
    assert!(!printed.contains("is missing"), "{printed}");

    let whole = call(&["export", text(&checkpoint), "-o", text(&out)]);
    assert_eq!(whole.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&whole.stderr).contains("export --only"));
    let only = ["--only", "transformer,transformer_context", "--precision", "bf16"];
    succeed(&[&["export", text(&checkpoint), "-o", text(&out)], &only[..]].concat());
    let mut graphs: Vec<_> = fs::read_dir(&out).unwrap().map(|f| f.unwrap().file_name()).collect();
    graphs.sort();
    let expected = [
        "config",
        "export.json",
        "transformer.onnx",
        "transformer.weights",
        "transformer_context.onnx",
        "transformer_context.weights",
    ];
    assert_eq!(graphs, expected);
}

#[test]
fn names_that_are_none_are_refused_with_those_that_are() {
    let out = TINY.path("never");
    for verb in [&["synth", "--preset", "tiny"][..], &["export", text(&TINY.path("checkpoint"))]] {
        let result = call(&[verb, &["-o", text(&out), "--only", "transformer,dit"]].concat());
        let error = String::from_utf8_lossy(&result.stderr);
        assert_eq!(result.status.code(), Some(2), "{error}");
        assert!(error.contains("'dit'") && error.contains("transformer_2"), "{error}");
    }
    let full = call(&["synth", "--preset", "full", "-o", text(&out)]);
    assert!(String::from_utf8_lossy(&full.stderr).contains("--only"));
    let planner = ["synth", "--preset", "tiny", "--layout", "renderer", "--only", "vision"];
    let planner = call(&[&planner[..], &["-o", text(&out)]].concat());
    assert!(String::from_utf8_lossy(&planner.stderr).contains("--layout full"));
    assert!(!out.exists());
}
