//! What only a Hopper GPU with TensorRT can show. Elsewhere: a binary with the feature `tensorrt`
//! in BERNINI_BINARY, TENSORRT_LIB_DIR, ORT_DYLIB_PATH, then this test binary with `--ignored`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{TINY, call, command, succeed, text};

const WORKLOAD: &str = "64x48x5";
const CASE: &str = "--prompt cat --task_type t2v --guidance_mode t2v --num_frames 5 --height 48 \
                    --width 64 --num_inference_steps 4";

/// A bf16 export of the tiny checkpoint, called `name`.
fn bf16(name: &str) -> PathBuf {
    let export = TINY.path(name);
    let checkpoint = TINY.path("checkpoint");
    succeed(&["export", text(&checkpoint), "-o", text(&export), "--precision", "bf16"]);
    export
}

/// Arguments of a build as fast as TensorRT can.
fn build<'a>(export: &'a Path, engines: &'a Path) -> [&'a str; 9] {
    let (export, engines) = (text(export), text(engines));
    let level = "--optimization-level";
    ["build", export, "-o", engines, "--workload", WORKLOAD, level, "0", "--json"]
}

fn case(arguments: &[&str]) -> Vec<String> {
    arguments.iter().copied().chain(CASE.split_whitespace()).map(str::to_string).collect()
}

#[test]
#[ignore = "needs sm_90"]
fn engines_give_the_numbers_of_the_f32_graphs() {
    let (export, engines) = (bf16("gpu_bf16"), TINY.path("gpu_engines"));
    succeed(&build(&export, &engines));
    let arguments = case(&["verify", text(&TINY.path("export")), text(&engines), "--json"]);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let result = call(&arguments);
    let error = String::from_utf8_lossy(&result.stderr);
    let report: Value =
        serde_json::from_slice(&result.stdout).unwrap_or_else(|_| panic!("{error}"));
    assert_eq!(result.status.code(), Some(0), "{report:#}");
    // Rounding to bf16 must show: equal numbers would mean that one side was run twice.
    let steps = report["options"][0]["trajectory"]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 4);
    assert!(steps.iter().all(|step| step["rel_l2"].as_f64().unwrap() > 1e-4), "{steps:?}");
}

#[test]
#[ignore = "needs sm_90"]
fn a_build_that_is_killed_at_any_moment_is_taken_up_by_the_next() {
    let (export, engines) = (bf16("gpu_killed_bf16"), TINY.path("gpu_killed"));
    for seconds in [2, 9, 16, 23] {
        let mut child = command(&build(&export, &engines)).stdout(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(seconds) && child.try_wait().unwrap().is_none()
        {
            sleep(Duration::from_millis(50));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let report: Value = serde_json::from_str(&succeed(&build(&export, &engines))).unwrap();
    let built = report["engines"].as_array().unwrap();
    assert!(built.iter().any(|engine| engine["action"] == "reuse"), "nothing was kept: {report:#}");
    let manifest: Value =
        serde_json::from_slice(&fs::read(engines.join("engines.json")).unwrap()).unwrap();
    for (stem, engine) in manifest["engines"].as_object().unwrap() {
        let bytes = fs::read(engines.join(engine["plan"]["file"].as_str().unwrap())).unwrap();
        assert_eq!(bytes.len() as u64, engine["plan"]["bytes"].as_u64().unwrap(), "{stem}");
    }
    let plans = fs::read_dir(&engines).unwrap().map(|file| file.unwrap().file_name());
    let plans = plans.filter(|name| name.to_string_lossy().contains(".plan"));
    assert_eq!(plans.count(), built.len(), "leftovers");
}

#[test]
#[ignore = "needs sm_90"]
fn a_limit_that_no_engine_fits_into_names_the_engine() {
    let (export, engines) = (bf16("gpu_small_bf16"), TINY.path("gpu_small"));
    succeed(&build(&export, &engines));
    let out = TINY.path("gpu_small.mp4");
    let arguments = case(&["run", text(&engines), "--vram-limit", "1MiB", "--output", text(&out)]);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let result = call(&arguments);
    let error = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(2), "{error}");
    assert!(error.contains("text_encoder") && error.contains("--vram-limit"), "{error}");
    assert!(!out.exists());
}
