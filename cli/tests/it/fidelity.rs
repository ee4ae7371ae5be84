//! One report of every FP8 option, on a checkpoint whose attentions are hard for FP8.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{TINY, call, succeed, text};

const CASE: &str = "--prompt cat --task_type t2v --guidance_mode t2v --num_frames 5 --height 64 \
                    --width 96 --num_inference_steps 4";

/// A folder below one of this test's own.
fn path(name: &str) -> PathBuf {
    TINY.path("fidelity").join(name)
}

fn with_case<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &CASE.split_whitespace().collect::<Vec<_>>()].concat()
}

fn export(name: &str, more: &[&str]) -> PathBuf {
    let folder = path(name);
    let (checkpoint, taps) = (path("CKPT"), ["--taps", "values"]);
    succeed(&[&["export", text(&checkpoint), "-o", text(&folder)][..], &taps, more].concat());
    folder
}

fn fp8(name: &str, policy: &str, table: &Path) -> PathBuf {
    let scales = ["--calibration", text(table)];
    export(name, &[&["--precision", "fp8-f32", "--policy", policy][..], &scales].concat())
}

/// The named line of the table of options.
fn line<'r>(report: &'r Value, name: &str) -> &'r Value {
    let lines = report["summary"].as_array().unwrap();
    lines.iter().find(|line| line["name"] == name).unwrap()
}

fn worst_step(line: &Value) -> f64 {
    let steps = line["steps"].as_object().unwrap();
    assert_eq!(steps.len(), 2, "{line}");
    steps.values().map(|error| error.as_f64().unwrap()).fold(0.0, f64::max)
}

#[test]
fn every_option_is_judged_by_itself_beside_the_noise_floor() {
    let (checkpoint, amax) = (path("CKPT"), path("amax"));
    fs::create_dir_all(path("")).unwrap();
    let synth = ["synth", "--preset", "tiny", "--layout", "renderer", "--peaky", "-o"];
    succeed(&[&synth[..], &[text(&checkpoint)]].concat());
    succeed(&["export", text(&checkpoint), "-o", text(&amax), "--taps", "amax"]);
    let [table, balanced] = ["table.json", "balanced.json"].map(path);
    succeed(&with_case(&["calibrate", text(&amax), "-o", text(&table)]));
    succeed(&with_case(&["calibrate", text(&amax), "-o", text(&balanced), "--balance"]));
    let a = export("f32", &[]);
    let floor = path("another-f32");
    succeed(&["export", text(&checkpoint), "-o", text(&floor)]);
    let (policy, frontier) = (path("searched.json"), path("frontier.svg"));
    let search = ["search", text(&a), text(&checkpoint), "--calibration", text(&table)];
    let to = ["-o", text(&policy), "--svg", text(&frontier)];
    succeed(&with_case(&[&search[..], &to].concat()));
    let options = [
        fp8("linears", "all-fp8", &table),
        fp8("plain", "all-fp8-attention", &table),
        fp8("balanced", "all-fp8-attention", &balanced),
        fp8("searched", text(&policy), &table),
    ];
    let page = path("report.html");
    let mut verify = vec!["verify", text(&a)];
    verify.extend(options.iter().map(|folder| text(folder)));
    verify.extend(["--floor", text(&floor), "--json", "--html", text(&page)]);
    let result = call(&with_case(&verify));
    let report: Value = serde_json::from_slice(&result.stdout).unwrap();

    // Attention in FP8 is what such weights make worse, and the search leaves out what is too much.
    let error = |name: &str| worst_step(line(&report, name));
    assert!(error("floor") < 1e-5, "{}", error("floor"));
    assert!(error("linears") < error("plain"), "{} {}", error("linears"), error("plain"));
    assert!(error("searched") <= 0.06 && error("plain") > 0.06, "{}", report["summary"]);
    for (name, passed) in [("linears", true), ("plain", false), ("searched", true)] {
        assert_eq!(line(&report, name)["passed"], passed, "{}", report["summary"]);
    }
    assert_eq!(line(&report, "floor")["passed"], Value::Null);
    assert_eq!(result.status.code(), Some(1), "one option beyond its limit is enough");
    let share = |name: &str| line(&report, name)["fp8_share"].as_f64().unwrap();
    assert!(share("floor") == 0.0 && share("linears") < share("plain"));
    assert!(share("linears") < share("searched") && share("searched") < share("plain"));
    assert_eq!(share("plain"), share("balanced"));

    // Experts of every option are compared value by value, the re-balanced one's too.
    for option in report["options"].as_array().unwrap() {
        let modules = option["modules"].as_array().unwrap();
        let expert = modules.iter().find(|module| module["submodule"] == "transformer").unwrap();
        let layers = expert["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 6, "{expert}");
        let within = |layer: &Value| (1e-3..0.2).contains(&layer["rel_l2"].as_f64().unwrap());
        assert!(layers.iter().all(within), "{layers:?}");
    }
    let page = fs::read_to_string(page).unwrap();
    // A, the floor and four options; first, middle and last frame.
    assert_eq!(page.matches("data:image/png;base64,").count(), 3 * 6);
    // Text encoder and two experts inside, steps, frames.
    assert_eq!(page.matches("<svg").count(), 5);
    for name in ["floor", "linears", "plain", "balanced", "searched"] {
        assert!(page.contains(&format!("<td>{name}<td>")), "{name}");
    }
    let frontier = fs::read_to_string(frontier).unwrap();
    assert!(frontier.contains("budget 0.06") && frontier.contains("chosen: "), "{frontier}");

    // The same numbers as when it is compared alone, and no floor that is itself rounded to FP8.
    let alone = ["verify", text(&a), text(&options[0]), "--level", "b", "--json"];
    let alone = call(&with_case(&alone));
    assert_eq!(alone.status.code(), Some(0));
    let alone: Value = serde_json::from_slice(&alone.stdout).unwrap();
    assert_eq!(worst_step(line(&alone, "linears")), error("linears"));
    let refused = ["verify", text(&a), text(&options[0]), "--floor", text(&options[1])];
    let refused = call(&with_case(&refused));
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("--floor: expected a folder as exact as A"), "{message}");
}
