//! `bernini calibrate` on the tiny checkpoint, and the FP8 export that its table is for.

use std::fs;

use crate::common::{TINY, call, succeed, text};

const SMALL: &str = "--prompt cat --task_type t2v --guidance_mode t2v --num_frames 5 --height 32 \
                     --width 48 --num_inference_steps 2";

fn calibrate(export: &str, table: &str, more: &[&str]) -> std::process::Output {
    let mut arguments = vec!["calibrate", export, "-o", table];
    arguments.extend(SMALL.split_whitespace());
    arguments.extend(more);
    call(&arguments)
}

#[test]
fn a_table_is_measured_and_an_fp8_export_takes_it() {
    let checkpoint = TINY.path("checkpoint");
    let (tapped, table) = (TINY.path("tapped"), TINY.path("tables/t2v.json"));
    fs::create_dir_all(table.parent().unwrap()).unwrap();
    succeed(&["export", text(&checkpoint), "-o", text(&tapped), "--taps", "amax"]);
    let result = calibrate(text(&tapped), text(&table), &["--json"]);
    let error = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success(), "{error}");
    let report: serde_json::Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!(report["cases"][0], "t2v 48x32x5, 2 steps, seed 42: cat");
    assert_eq!(report["layers"]["transformer"], report["layers"]["transformer_2"]);
    let attentions = serde_json::json!({"transformer": 4, "transformer_2": 4});
    assert_eq!(report["attentions"], attentions);
    assert_eq!(report["balanced"], serde_json::json!({}));
    assert_eq!(report["method"], "amax");
    let branches = report["branches"]["transformer_2"].as_object().unwrap();
    // Without sources a step has two branches; each linear layer and attention has met both.
    assert!(branches.keys().all(|b| ["none+negative", "none+positive"].contains(&b.as_str())));
    let met: u64 = branches.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(Some(met), report["layers"]["transformer_2"].as_u64().map(|n| n + 3 * 4));
    assert_eq!(report["not_run"], serde_json::json!([]));
    let left: Vec<_> = fs::read_dir(table.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");

    let fp8 = TINY.path("fp8");
    let fp8 = ["export", text(&checkpoint), "-o", text(&fp8), "--precision", "fp8"];
    let measured = ["--policy", "all-fp8", "--calibration", text(&table), "--json"];
    let report = succeed(&[&fp8[..], &measured].concat());
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["uncalibrated"], &report["policy"]), (&false.into(), &"all-fp8".into()));
}

#[test]
fn a_method_chooses_from_statistics_and_the_table_says_which() {
    let (checkpoint, tapped) = (TINY.path("checkpoint"), TINY.path("statistics"));
    succeed(&["export", text(&checkpoint), "-o", text(&tapped), "--taps", "statistics"]);
    let largest = |name: &str, more: &[&str]| {
        let table = TINY.path(name);
        let result = calibrate(text(&tapped), text(&table), &[more, &["--json"]].concat());
        let error = String::from_utf8_lossy(&result.stderr);
        assert!(result.status.success(), "{error}");
        let report: serde_json::Value = serde_json::from_slice(&result.stdout).unwrap();
        let table: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&table).unwrap()).unwrap();
        assert_eq!(table["method"], report["method"]);
        let input = &table["submodules"]["transformer"]["blocks.0.ffn.net.2"]["input"];
        (report["method"].clone(), input.as_f64().unwrap())
    };
    let (name, amax) = largest("by_amax.json", &[]);
    assert_eq!(name, "amax");
    let (name, percentile) = largest("by_percentile.json", &["--method", "percentile"]);
    assert!(name == serde_json::json!({"percentile": 99.99}) && percentile < amax, "{name}");
    let lower = ["--method", "percentile", "--percentile", "90"];
    let (name, lower) = largest("by_lower_percentile.json", &lower);
    assert!(name == serde_json::json!({"percentile": 90.0}) && lower < percentile, "{name}");
    let (name, mse) = largest("by_mse.json", &["--method", "mse"]);
    assert!(name == "mse" && (amax..2.0 * amax).contains(&mse), "{name}: {amax} {mse}");
}

#[test]
fn experts_of_a_re_balanced_export_are_compared_on_the_keys_of_their_own_context() {
    let (checkpoint, export) = (TINY.path("checkpoint"), TINY.path("export"));
    let [tapped, table, fp8] =
        ["tapped_to_balance", "balance.json", "balanced"].map(|n| TINY.path(n));
    succeed(&["export", text(&checkpoint), "-o", text(&tapped), "--taps", "amax"]);
    let more = ["--balance", "--center-keys", "--json"];
    let result = calibrate(text(&tapped), text(&table), &more);
    let report: serde_json::Value = serde_json::from_slice(&result.stdout).unwrap();
    assert!(report["centered"].is_object(), "{report}");
    assert!(report["balanced"]["transformer"].as_u64() > Some(0), "{report}");
    let target = ["export", text(&checkpoint), "-o", text(&fp8), "--precision", "fp8-f32"];
    let measured = ["--policy", "all-fp8-attention", "--calibration", text(&table)];
    succeed(&[&target[..], &measured].concat());
    let mut arguments = vec!["verify", text(&export), text(&fp8), "--level", "a,b", "--json"];
    arguments.extend(SMALL.split_whitespace());
    let result = call(&arguments);
    let report: serde_json::Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!(result.status.code(), Some(0), "{report:#}");
    let option = &report["options"][0];
    assert!(option["warnings"].to_string().contains("those of its own context"), "{report:#}");
    let modules = option["modules"].as_array().unwrap();
    let stems: Vec<_> = modules.iter().map(|m| m["submodule"].as_str().unwrap()).collect();
    assert!(stems.contains(&"transformer_2") && !stems.contains(&"transformer_2_context"));
}

#[test]
fn fp8_values_with_measured_scales_stay_within_the_budget_on_the_cpu() {
    let (checkpoint, export) = (TINY.path("checkpoint"), TINY.path("export"));
    let (tapped, table) = (TINY.path("tapped_too"), TINY.path("scales.json"));
    succeed(&["export", text(&checkpoint), "-o", text(&tapped), "--taps", "amax"]);
    assert!(calibrate(text(&tapped), text(&table), &[]).status.success());
    let mut errors = vec![];
    for (policy, attentions) in [("all-fp8", None), ("all-fp8-attention", Some(4))] {
        let fp8 = TINY.path(policy);
        let precision = ["--precision", "fp8-f32", "--policy", policy];
        let export_to = ["export", text(&checkpoint), "-o", text(&fp8)];
        let measured = ["--calibration", text(&table)];
        succeed(&[&export_to[..], &precision, &measured].concat());
        let holds = succeed(&["inspect", text(&fp8), "--json"]);
        let holds: serde_json::Value = serde_json::from_str(&holds).unwrap();
        let found = holds["fp8"]["transformer"]["attentions"].as_u64();
        assert_eq!(found.filter(|&n| n > 0), attentions, "{holds}");

        let mut verify = vec!["verify", text(&export), text(&fp8), "--json"];
        verify.extend(SMALL.split_whitespace());
        let result = call(&verify);
        let report: serde_json::Value = serde_json::from_slice(&result.stdout).unwrap();
        let steps = report["options"][0]["trajectory"]["steps"].as_array().unwrap();
        assert_eq!(steps.len(), 2);
        let worst = steps.iter().map(|step| step["rel_l2"].as_f64().unwrap()).fold(0.0, f64::max);
        assert!(worst > 1e-3 && worst <= 0.06, "{policy}: {report}");
        errors.push(worst);
    }
    assert_ne!(errors[0], errors[1], "attention in FP8 shows");
}

#[test]
fn made_up_scales_run_on_the_cpu_only_on_request() {
    let (checkpoint, fp8) = (TINY.path("checkpoint"), TINY.path("synthetic"));
    let precision = ["--precision", "fp8-f32", "--calibration", "synthetic"];
    succeed(&[&["export", text(&checkpoint), "-o", text(&fp8)][..], &precision].concat());
    let output = TINY.path("synthetic.mp4");
    let mut run = vec!["run", text(&fp8), "--output", text(&output)];
    run.extend(SMALL.split_whitespace());
    let refused = call(&run);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{error}");
    assert!(error.contains("--allow-uncalibrated"), "{error}");
    assert!(call(&[&run[..], &["--allow-uncalibrated"]].concat()).status.success());
}

#[test]
fn what_cannot_be_measured_is_refused_with_what_to_do() {
    let (plain, table) = (TINY.path("export"), TINY.path("none.json"));
    for (more, message) in [
        (&[][..], "bernini export CKPT -o EXPORT --taps amax"),
        (&["--use_pe"], "--use_pe goes with `bernini run` only"),
        (&["--report", "x.json"], "--report goes with `bernini run` only"),
        (&["--method", "entropy"], "[possible values: amax, percentile, mse]"),
        (&["--percentile", "99"], "--percentile goes with --method percentile only"),
        (&["--method", "mse", "--percentile", "99"], "goes with --method percentile only"),
        (&["--method", "percentile", "--percentile", "100.1"], "above 0 and up to 100"),
        (&["--method", "percentile", "--percentile", "nan"], "above 0 and up to 100"),
    ] {
        let result = calibrate(text(&plain), text(&table), more);
        let error = String::from_utf8_lossy(&result.stderr);
        assert_eq!(result.status.code(), Some(2), "{error}");
        assert!(error.contains(message), "{error}");
    }
    let (checkpoint, tapped) = (TINY.path("checkpoint"), TINY.path("amax_only"));
    succeed(&["export", text(&checkpoint), "-o", text(&tapped), "--taps", "amax"]);
    let result = calibrate(text(&tapped), text(&table), &["--method", "mse"]);
    let error = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(2), "{error}");
    assert!(error.contains("bernini export CKPT -o EXPORT --taps statistics"), "{error}");
    let missing = call(&["calibrate", text(&plain), "--prompt", "cat"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("--output <TABLE>"));
    assert!(!table.exists());
}
