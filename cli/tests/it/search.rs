//! `bernini search` on the tiny checkpoint: what it writes keeps the budget that it was given.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::LazyLock;

use serde_json::Value;

use crate::common::{TINY, call, succeed, text};

const SMALL: &str = "--prompt cat --task_type t2v --guidance_mode t2v --num_frames 5 --height 32 \
                     --width 48 --num_inference_steps 2";

static TABLE: LazyLock<PathBuf> = LazyLock::new(|| {
    let (tapped, table) = (TINY.path("search_tapped"), TINY.path("search_table.json"));
    let checkpoint = TINY.path("checkpoint");
    succeed(&["export", text(&checkpoint), "-o", text(&tapped), "--taps", "amax"]);
    // Re-balanced, so that a candidate with half of an expert would be far off.
    let mut calibrate = vec!["calibrate", text(&tapped), "-o", text(&table), "--balance"];
    calibrate.extend(SMALL.split_whitespace());
    succeed(&calibrate);
    table
});

fn search(checkpoint: &Path, table: &Path, policy: &Path, more: &[&str]) -> Output {
    let export = TINY.path("export");
    let mut all = vec!["search", text(&export), text(checkpoint), "--calibration", text(table)];
    all.extend(["-o", text(policy)]);
    all.extend(SMALL.split_whitespace());
    all.extend(more);
    call(&all)
}

/// A search that ends with `code`, and its report.
fn report(policy: &Path, budget: &str, code: i32) -> Value {
    let more = ["--json", "--budget", budget];
    let result = search(&TINY.path("checkpoint"), &TABLE, policy, &more);
    let error = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(code), "{error}");
    serde_json::from_slice(&result.stdout).unwrap()
}

/// The worst step that `verify` finds with a policy.
fn worst_step(policy: &Path) -> f64 {
    let (checkpoint, export) = (TINY.path("checkpoint"), TINY.path("export"));
    let fp8 = policy.with_extension("export");
    let made = ["export", text(&checkpoint), "-o", text(&fp8), "--precision", "fp8-f32"];
    let chosen = ["--policy", text(policy), "--calibration", text(&TABLE)];
    succeed(&[&made[..], &chosen].concat());
    let mut verify = vec!["verify", text(&export), text(&fp8), "--level", "b", "--json"];
    verify.extend(SMALL.split_whitespace());
    let report: Value = serde_json::from_slice(&call(&verify).stdout).unwrap();
    let steps = report["options"][0]["trajectory"]["steps"].as_array().unwrap();
    steps.iter().map(|step| step["rel_l2"].as_f64().unwrap()).fold(0.0, f64::max)
}

#[test]
fn a_wide_budget_lets_everything_run_in_fp8_and_a_narrow_one_what_keeps_it() {
    let [wide, narrow] = ["wide.json", "narrow.json"].map(|name| TINY.path(name));
    let everything = report(&wide, "0.06", 0);
    let frontier = everything["frontier"].as_array().unwrap();
    println!("{everything:#}");
    // Two experts of two blocks each, linear layers and attentions, their contexts, and the text
    // encoder.
    assert_eq!(frontier.len(), 11);
    assert_eq!(everything["chosen"], 11);
    let shares: Vec<_> = frontier.iter().map(|p| p["fp8_share"].as_f64().unwrap()).collect();
    assert!(shares.is_sorted() && shares[0] > 0.0 && shares[10] < 1.0, "{shares:?}");
    let all = frontier[10]["measured"].as_f64().unwrap();
    let named = worst_step(&wide);
    assert!((named - all).abs() < 1e-9, "verify finds {named}, the search {all}");

    let budget = all / 2.0;
    let some = report(&narrow, &budget.to_string(), 0);
    let chosen = some["chosen"].as_u64().unwrap() as usize;
    assert!((1..11).contains(&chosen), "{some}");
    let measured = &some["frontier"][chosen - 1]["measured"];
    let found = worst_step(&narrow);
    assert!(found > 0.0 && found <= budget, "{found}");
    assert!((found - measured.as_f64().unwrap()).abs() < 1e-9, "{found} {measured}");
    let beyond = some["frontier"][chosen]["measured"].as_f64().unwrap();
    assert!(beyond > budget, "the next group would not keep it: {beyond}");
    for left in [".wide.json.search", ".narrow.json.search"] {
        assert!(!TINY.path(left).exists(), "{left}");
    }
}

/// A search in bands of two blocks.
fn in_bands(policy: &Path, more: &[&str]) -> Value {
    let bands = ["--json", "--budget", "0.06", "--groups", "5"];
    let result = search(&TINY.path("checkpoint"), &TABLE, policy, &[&bands, more].concat());
    serde_json::from_slice(&result.stdout).unwrap()
}

/// The share of FLOPs that every group adds.
fn added(report: &Value) -> BTreeMap<&str, f64> {
    let points = report["frontier"].as_array().unwrap();
    let shares = points.iter().map(|point| point["fp8_share"].as_f64().unwrap());
    let before = std::iter::once(0.0).chain(shares.clone());
    let names = points.iter().map(|point| point["added"].as_str().unwrap());
    names.zip(shares.zip(before).map(|(share, before)| share - before)).collect()
}

#[test]
fn work_is_counted_at_the_sizes_of_the_workload_and_errors_in_the_case() {
    let of_case = in_bands(&TINY.path("of_case.json"), &[]);
    let large = ["--workload", "832x480x81,832x480x81+832x480x81"];
    let of_workload = in_bands(&TINY.path("of_workload.json"), &large);
    assert_eq!(of_workload["workloads"].as_array().unwrap().len(), 2);
    let (small, large) = (added(&of_case), added(&of_workload));
    for stack in ["transformer", "transformer_2"] {
        let attention = format!("{stack} blocks.0-1 attention");
        let linears = format!("{stack} blocks.0-1 linears");
        let ratio = |added: &BTreeMap<&str, f64>| added[&*attention] / added[&*linears];
        assert!(ratio(&small) < 5.0 && ratio(&large) > 100.0, "{small:?} {large:?}");
    }
    let alone = |report: &Value| {
        let points = report["frontier"].as_array().unwrap().clone();
        let mut errors: Vec<_> = points.iter().map(|p| p["error_alone"].to_string()).collect();
        errors.sort();
        errors
    };
    assert_eq!(alone(&of_case), alone(&of_workload));
}

#[test]
fn fewer_groups_are_bands_of_blocks() {
    let policy = TINY.path("bands.json");
    let report = in_bands(&policy, &[]);
    let frontier = report["frontier"].as_array().unwrap();
    let mut names: Vec<_> = frontier.iter().map(|p| p["added"].as_str().unwrap()).collect();
    names.sort();
    let expected = [
        "text_encoder linears",
        "transformer blocks.0-1 attention",
        "transformer blocks.0-1 linears",
        "transformer_2 blocks.0-1 attention",
        "transformer_2 blocks.0-1 linears",
        "transformer_2_context linears",
        "transformer_context linears",
    ];
    assert_eq!(names, expected);
    assert_eq!(report["chosen"], 7, "{report}");
    assert!(worst_step(&policy) <= 0.06);
}

#[test]
fn a_budget_that_nothing_keeps_is_said_and_no_policy_is_written() {
    let policy = TINY.path("nothing.json");
    let report = report(&policy, "1e-9", 1);
    assert_eq!((&report["chosen"], &report["policy"]), (&0.into(), &Value::Null));
    assert!(!policy.exists());
}

#[test]
fn what_cannot_be_searched_is_said_at_once() {
    let (checkpoint, policy) = (TINY.path("checkpoint"), TINY.path("refused.json"));
    let (other, nowhere) = (TINY.path("other_weights"), TINY.path("nowhere.json"));
    let synth = ["synth", "--preset", "tiny", "--layout", "renderer", "--seed", "7", "-o"];
    succeed(&[&synth[..], &[text(&other)]].concat());
    let edited = |name: &str, from: &str, to: &str| {
        let table = fs::read_to_string(&*TABLE).unwrap();
        let path = TINY.path(name);
        fs::write(&path, table.replace(from, to)).unwrap();
        path
    };
    let lacking = edited("lacking.json", "blocks.1.attn1.to_out.0", "blocks.1.attn1.to_out.9");
    let foreign = edited("foreign.json", "\"source\": \"", "\"source\": \"0");
    let folder = TINY.path("no_file");
    for (checkpoint, table, policy, more, message) in [
        (&checkpoint, &nowhere, &policy, &[][..], "nowhere.json"),
        (&checkpoint, &lacking, &policy, &[], "blocks.1.attn1.to_out.0"),
        (&checkpoint, &foreign, &policy, &[], "calibrate this checkpoint"),
        (&other, &TABLE, &policy, &[], "pass its own"),
        (&checkpoint, &TABLE, &folder, &[], "expected a file called NAME.json"),
        (&checkpoint, &TABLE, &policy, &["--budget", "0"], "expected a number above 0"),
        (&checkpoint, &TABLE, &policy, &["--groups", "0"], "--groups"),
        (&checkpoint, &TABLE, &policy, &["--workload", "830x480x81"], "830x480x81"),
        (&checkpoint, &TABLE, &policy, &["--report", "x"], "--report does not go with"),
        (&checkpoint, &TABLE, &policy, &["--case", "/nowhere.json"], "/nowhere.json"),
        (&checkpoint, &TABLE, &policy, &["--num_frames", "0"], "num_frames"),
    ] {
        let result = search(checkpoint, table, policy, more);
        let error = String::from_utf8_lossy(&result.stderr);
        assert_eq!(result.status.code(), Some(2), "{message}: {error}");
        assert!(error.contains(message), "{message}: {error}");
    }
    let fp8 = TINY.path("no_reference");
    let made = ["export", text(&checkpoint), "-o", text(&fp8), "--precision", "bf16"];
    succeed(&made);
    let call_on = ["search", text(&fp8), text(&checkpoint), "--calibration", text(&TABLE)];
    let refused = call(&[&call_on[..], &["-o", text(&policy), "--prompt", "cat"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("expected an export in f32"), "{error}");
    assert!(!policy.exists());
}
