use serde_json::{Value, json};

use super::*;

/// One submodule in these milliseconds.
fn report(milliseconds: &[f64]) -> Value {
    json!([{
        "workload": "t2v-480p",
        "machine": {
            "gpu": {"name": "NVIDIA H200", "compute_capability": "9.0", "cuda_driver": "13.0"},
            "tensorrt": "10.6.0", "precision": "fp8", "policy": "all-fp8",
            "uncalibrated": true, "command": "bernini bench",
        },
        "peers": null,
        "timings": [{"name": "transformer tokens=16", "milliseconds": milliseconds, "p50": 1}],
    }])
}

fn recorded(report: Value) -> Vec<Recorded> {
    serde_json::from_value(report).unwrap()
}

fn compared(old: Value, new: Value) -> Result<Comparison, CompareError> {
    compare(&recorded(old), &recorded(new), 0.02)
}

fn verdict(old: &[f64], new: &[f64]) -> (Verdict, bool) {
    let compared = compared(report(old), report(new)).unwrap();
    (compared.items[0].verdict, compared.passed)
}

#[test]
fn a_change_counts_beyond_noise_and_beyond_the_threshold() {
    let old = [100.0, 101.0, 99.0, 100.0, 100.5];
    let times = |factor| old.map(|ms| factor * ms);
    assert_eq!(verdict(&old, &times(1.04)), (Verdict::Slower, false));
    assert_eq!(verdict(&old, &times(0.9)), (Verdict::Faster, true));
    // Apart, but less than 2 %.
    let narrow = [100.0, 100.01, 100.02];
    assert_eq!(verdict(&narrow, &narrow.map(|ms| 1.015 * ms)), (Verdict::Same, true));
    // More than 2 %, but the intervals overlap.
    assert_eq!(verdict(&old, &[99.5, 110.0, 112.0]), (Verdict::Same, true));
    assert_eq!(verdict(&[100.0], &[150.0, 151.0]), (Verdict::TooFewRuns, true));
    let same = compared(report(&old), report(&times(1.04))).unwrap();
    assert!((same.items[0].change - 0.04).abs() < 1e-12 && same.warnings.is_empty());
}

#[test]
fn another_gpu_is_refused_and_what_else_differs_is_said() {
    let (old, mut new) = (report(&[1.0; 3]), report(&[1.0; 3]));
    new[0]["machine"]["gpu"]["name"] = "NVIDIA H100".into();
    let refused = compared(old.clone(), new.clone()).unwrap_err().to_string();
    assert!(refused.contains("OLD ran on NVIDIA H200, NEW on NVIDIA H100"), "{refused}");
    new[0]["machine"]["gpu"] = Value::Null;
    let refused = compared(old.clone(), new.clone()).unwrap_err().to_string();
    assert!(refused.contains("NEW on the CPU"), "{refused}");
    let mut new = report(&[1.0; 3]);
    for (key, value) in [("tensorrt", "10.7.0"), ("precision", "bf16"), ("policy", "default")] {
        new[0]["machine"][key] = value.into();
    }
    new[0]["machine"]["uncalibrated"] = false.into();
    let warnings = compared(old, new).unwrap().warnings;
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert_eq!(warnings[0], "TensorRT: OLD has 10.6.0, NEW has 10.7.0");
}

#[test]
fn what_only_one_report_has_is_said_and_nothing_in_common_is_refused() {
    let (old, mut new) = (report(&[1.0; 3]), report(&[1.0; 3]));
    let mut more = new[0].clone();
    more["workload"] = "v2v-480p".into();
    new.as_array_mut().unwrap().push(more.clone());
    let mut other = new[0]["timings"][0].clone();
    other["name"] = "text_encoder text_tokens=512".into();
    new[0]["timings"].as_array_mut().unwrap().push(other);
    let forwards = compared(old.clone(), new.clone()).unwrap();
    assert_eq!(forwards.items.len(), 1);
    assert_eq!(
        forwards.warnings,
        ["text_encoder text_tokens=512: not in OLD", "v2v-480p: OLD did not measure this workload"]
    );
    let backwards = compared(new, old.clone()).unwrap().warnings;
    assert_eq!(
        backwards,
        [
            "text_encoder text_tokens=512: not in NEW any more",
            "v2v-480p: NEW did not measure this workload"
        ]
    );
    let refused = compared(old, Value::Array(vec![more])).unwrap_err().to_string();
    assert!(refused.contains("OLD has t2v-480p, NEW has v2v-480p"), "{refused}");
}

#[test]
fn times_that_cannot_be_are_refused() {
    for times in [&[][..], &[1.0, 0.0], &[-1.0]] {
        let refused = compared(report(&[1.0; 3]), report(times)).unwrap_err();
        assert!(matches!(refused, CompareError::Times { .. }), "{refused}");
    }
}

/// What this version writes is what it compares, and so are the committed results.
#[test]
fn reports_of_this_version_and_older_ones_are_read() {
    let now = serde_json::to_value([crate::bench::testing::report()]).unwrap();
    assert!(compared(now.clone(), now).unwrap().passed);
    let older = include_str!("../../../../bench/results/h200-dit-fp8.json");
    let older: Value = serde_json::from_str(older).unwrap();
    assert_eq!(compared(older.clone(), older).unwrap().items.len(), 3);
}
