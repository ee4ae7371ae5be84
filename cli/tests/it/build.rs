//! `bernini build` without TensorRT: what it would do, and what it refuses in the first second.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::common::{TINY, call, succeed, text};

static BF16: LazyLock<PathBuf> = LazyLock::new(|| {
    let export = TINY.path("bf16_of_build");
    let precision = ["--precision", "bf16"];
    succeed(
        &[&["export", text(&TINY.path("checkpoint")), "-o", text(&export)], &precision[..]]
            .concat(),
    );
    export
});

#[test]
fn a_dry_run_shows_every_shape_and_writes_nothing() {
    let engines = TINY.path("engines_never_written");
    let arguments = ["build", text(&BF16), "-o", text(&engines), "--dry-run", "--workload"];
    let shown = succeed(&[&arguments[..], &["rv2v-480p,t2i-512"]].concat());
    for line in [
        "rv2v-480p targets+videos+pictures",
        "tokens         [1, 67080, 64]",
        "tokens         [1, 1024, 64]",
        "frames         [1, 3, 4, 480, 832]",
        "buckets        [1, 1] to [512, 512], best at [512, 512]",
    ] {
        assert!(shown.contains(line), "no {line:?} in {shown}");
    }
    let json = succeed(&[&arguments[..], &["64x48x5", "--only", "transformer", "--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let [engine] = &json["engines"].as_array().unwrap()[..] else { panic!("{json}") };
    assert_eq!(engine["submodule"], "transformer");
    assert_eq!(engine["profiles"][0]["sizes"]["tokens"]["opt"], 24);
    assert!(!engines.exists());
}

#[test]
fn what_cannot_be_built_is_refused_at_once() {
    let folder = TempDir::new().unwrap();
    let engines = folder.path().join("engines");
    let refused = |export: &PathBuf, rest: &[&str], words: &[&str]| {
        let result = call(&[&["build", text(export), "-o", text(&engines)], rest].concat());
        let message = String::from_utf8_lossy(&result.stderr);
        assert_eq!(result.status.code(), Some(2), "{rest:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{rest:?}: no {word:?} in {message}");
        }
        assert!(!message.contains("panicked"), "{message}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{rest:?} left something");
    };
    let t2v = ["--workload", "t2v-480p"];
    refused(&TINY.path("export"), &t2v, &["f32", "--precision bf16"]);
    refused(&TINY.path("checkpoint"), &t2v, &["no export", "bernini export"]);
    refused(&BF16, &[], &["--workload"]);
    refused(&BF16, &["--workload", "t2v-540p"], &["t2v-540p", "t2v-480p, v2v-480p"]);
    refused(&BF16, &["--workload", "t2v-480p,640x380x49"], &["height is 380", "multiple of 16"]);
    refused(&BF16, &["--workload", ""], &["expected t2v-480p"]);
    refused(
        &BF16,
        &[&t2v[..], &["--only", "transfomer"]].concat(),
        &["transfomer", "transformer_2"],
    );
    refused(&BF16, &[&t2v[..], &["--only", "vision"]].concat(), &["vision is not in the export"]);
    let encoder = [&t2v[..], &["--only", "vae_encoder_first"]].concat();
    refused(&BF16, &encoder, &["t2v-480p does not run vae_encoder_first"]);
    refused(&BF16, &[&t2v[..], &["--optimization-level", "6"]].concat(), &["0..=5"]);
    let result = call(&["build", text(&BF16), "-o", text(&BF16), "--workload", "t2v-480p"]);
    let message = String::from_utf8_lossy(&result.stderr);
    assert!(message.contains("neither empty nor an engine folder"), "{message}");
}
