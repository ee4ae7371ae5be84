//! `bernini bench` on the tiny export: the files that it writes, and two reports compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::common::{TINY, call, succeed, text};

/// A report with peers, and its JSON.
static REPORT: LazyLock<PathBuf> = LazyLock::new(|| {
    let (peers, report) = (TINY.path("peers.json"), TINY.path("bench.json"));
    let peer = json!({
        "versions": "torch 2", "bf16_tflops": 8.0, "fp8_tflops": 16.0,
        "milliseconds": {"vae-decode 48x32x5": {"bf16 eager": 9.0}},
    });
    fs::write(&peers, peer.to_string()).unwrap();
    let export = TINY.path("export");
    let arguments = ["bench", text(&export), "--workload", "48x32x5", "--iterations", "3"];
    let files = ["--layers", "--peers", text(&peers), "-o", text(&report)];
    succeed(&[&arguments[..], &files].concat());
    report
});

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The report with every run of the expert `factor` times as long.
fn slower(name: &str, factor: f64) -> PathBuf {
    let mut report = read(&REPORT);
    let timings = report[0]["timings"].as_array_mut().unwrap();
    for timing in timings.iter_mut().filter(|t| t["name"].as_str().unwrap().contains(" tokens=")) {
        for run in timing["milliseconds"].as_array_mut().unwrap() {
            *run = json!(factor * run.as_f64().unwrap());
        }
    }
    let path = TINY.path(name);
    fs::write(&path, report.to_string()).unwrap();
    path
}

#[test]
fn a_report_has_quantiles_the_cold_start_and_tables_and_drawings_beside_it() {
    let report = &read(&REPORT)[0];
    let timings = report["timings"].as_array().unwrap();
    assert_eq!(timings.len(), 7, "{timings:?}");
    for timing in timings {
        let of = |quantile: &str, end: &str| timing[quantile][end].as_f64().unwrap();
        assert!(of("p50", "low") <= of("p50", "value") && of("p50", "value") <= of("p50", "high"));
        assert!(
            of("p50", "value") <= of("p90", "value") && of("p90", "value") <= of("p99", "value")
        );
        assert_eq!(timing["milliseconds"].as_array().unwrap().len(), 3);
        assert!(timing["cold"]["load_seconds"].as_f64().unwrap() > 0.0, "{timing}");
    }
    assert_eq!(report["machine"]["gpu"], Value::Null);
    assert_eq!(report["machine"]["precision"], "f32");
    assert!(report["peak_memory_bytes"].as_u64().unwrap() > 0);
    let markdown = fs::read_to_string(REPORT.with_extension("md")).unwrap();
    assert!(markdown.contains("| vae-decode 48x32x5 |") && markdown.contains("0.009 (bf16 eager)"));
    let drawing = fs::read_to_string(REPORT.with_extension("speed.svg")).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.contains("9.00 ms"), "{drawing}");
    // The CPU does not tell the time of layers.
    assert!(!REPORT.with_extension("layers.svg").exists());
    let left = fs::read_dir(REPORT.parent().unwrap()).unwrap().flatten();
    assert!(left.into_iter().all(|file| !text(&file.path()).ends_with(".part")));
}

#[test]
fn a_regression_beyond_noise_ends_with_1() {
    let compare = |old: &Path, new: &Path, more: &[&str]| {
        let result = call(&[&["bench", "compare", text(old), text(new)], more].concat());
        (result.status.code(), String::from_utf8(result.stdout).unwrap())
    };
    let (code, shown) = compare(&REPORT, &REPORT, &[]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("nothing became slower by more than 2 %"), "{shown}");
    let slower = slower("slower.json", 1e6);
    let (code, shown) = compare(&REPORT, &slower, &[]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("SLOWER") && shown.contains("+99999900.0 %"), "{shown}");
    assert_eq!(compare(&slower, &REPORT, &[]).0, Some(0));
    let (code, shown) = compare(&slower, &REPORT, &["--json"]);
    let json: Value = serde_json::from_str(&shown).unwrap();
    let faster = json["items"].as_array().unwrap().iter().filter(|i| i["verdict"] == "faster");
    assert_eq!((code, faster.count()), (Some(0), 2));
}

#[test]
fn what_cannot_be_measured_or_compared_is_said_at_once() {
    let export = TINY.path("export");
    let other_gpu = TINY.path("other_gpu.json");
    let mut report = read(&REPORT);
    report[0]["machine"]["gpu"] = json!({"name": "NVIDIA H100"});
    fs::write(&other_gpu, report.to_string()).unwrap();
    let sizes = ["bench", text(&export), "--workload", "48x32x5"];
    let report = text(&REPORT);
    for (arguments, message) in [
        (vec!["bench"], "Usage"),
        (vec!["bench", text(&export)], "--workload"),
        ([&sizes[..], &["--warmup", "0"]].concat(), "1..="),
        ([&sizes[..], &["-o", "/nowhere/at/all.json"]].concat(), "no folder /nowhere/at"),
        ([&sizes[..], &["--peers", "/nowhere.json"]].concat(), "/nowhere.json"),
        (vec!["bench", "compare", report], "NEW"),
        (vec!["bench", "compare", report, "/nowhere.json"], "/nowhere.json"),
        (vec!["bench", "compare", report, text(&other_gpu)], "NEW on NVIDIA H100"),
        (vec!["bench", "compare", report, report, "--threshold=-1"], "0 or more"),
        (vec!["bench", "compare", report, text(&TINY.path("peers.json"))], "`bernini bench -o`"),
    ] {
        let result = call(&arguments);
        let error = String::from_utf8_lossy(&result.stderr);
        assert_eq!(result.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(message), "{arguments:?}: {error}");
    }
}
