//! Presets, flags, case files and files of cases: who wins, and what is refused before any work.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::common::{TINY, call, run, succeed, text};

/// An export of the tiny full model.
static FULL: LazyLock<PathBuf> = LazyLock::new(|| {
    let (checkpoint, export) = (TINY.path("full_checkpoint"), TINY.path("full_export"));
    succeed(&["synth", "--preset", "tiny", "-o", text(&checkpoint)]);
    succeed(&["export", text(&checkpoint), "-o", text(&export)]);
    export
});

fn file(name: &str, content: &str) -> PathBuf {
    let path = TINY.path(name);
    fs::write(&path, content).unwrap();
    path
}

/// What `--print-config` says; no export is needed for it.
fn config(arguments: &[&str]) -> Value {
    let all = [&["run", "/nowhere", "--print-config", "--json"], arguments].concat();
    serde_json::from_str(&succeed(&all)).unwrap()
}

fn setting<T: Into<Value>>(value: T, from: &str) -> Value {
    json!({ "value": value.into(), "from": from })
}

/// Runs on the full export and expects a refusal that holds every word.
fn refused(arguments: &[&str], words: &[&str]) {
    let output = TINY.path("never.mp4");
    let mut all = vec!["run", text(&FULL), "--prompt", "a", "--output", text(&output)];
    all.extend(arguments);
    let result = call(&all);
    let message = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(2), "{arguments:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{arguments:?}: no {word:?} in {message}");
    }
    assert!(!output.exists());
}

#[test]
fn defaults_yield_to_the_preset_the_preset_to_flags_and_flags_to_the_case() {
    let plain = config(&[]);
    assert_eq!(plain["omega_txt"], setting(4.0, "default"));
    assert_eq!(plain["guidance_mode"], setting("rv2v", "default"));

    let preset = ["--task_type", "rv2v", "--preset", "v2"];
    let found = config(&preset);
    assert_eq!(found["omega_txt"], setting(5.5, "preset v2"));
    assert_eq!(found["guidance_mode"], setting("rv2v_wapg", "preset v2"));
    assert_eq!(found["planning_step"], setting(50, "preset v2"));
    assert_eq!(found["seed"], setting(42, "default"));

    // A flag wins even where it says what the default says.
    let flags = ["--omega_txt", "4", "--guidance_mode", "v2v_apg"];
    let found = config(&[&preset[..], &flags].concat());
    assert_eq!(found["omega_txt"], setting(4.0, "flag"));
    assert_eq!(found["omega_img"], setting(4.0, "preset v2"));
    assert_eq!(found["guidance_mode"], setting("v2v_apg", "flag"));

    let case = r#"{"prompt": "p", "task_type": "t2i", "guidance_mode": "vae_txt_vit"}"#;
    let case = file("precedence.json", case);
    let found = config(&[&preset[..], &flags, &["--case", text(&case)]].concat());
    assert_eq!(found["guidance_mode"], setting("vae_txt_vit", "case file"));
    assert_eq!(found["task_type"], setting("t2i", "case file"));
    assert_eq!(found["num_frames"], setting(1, "preset v2"), "the preset of the case's task");
    assert_eq!(found["omega_txt"], setting(4.0, "flag"));
}

#[test]
fn every_typed_flag_says_so() {
    let typed = "--prompt p --neg_prompt n --system_prompt s --task_type t2v --guidance_mode t2v \
        --image i --output o.mp4 --num_frames 9 --max_image_size 64 --height 32 --width 32 \
        --num_inference_steps 2 --omega_vid 1 --omega_img 1 --omega_txt 1 --omega_tgt 1 \
        --omega_scale 1 --flow_shift 1 --seed 1 --noise n.npy --fps 8 --eta 1 --momentum 0.5 \
        --norm_threshold 1 2 3 --no-use_unipc --use_src_tgt_id --no-interpolate_src_id \
        --max_trained_src_id 3 --planning_step 1 --vit_txt_cfg 1 --vit_img_cfg none \
        --vit_denoising_step 1 --reference-schedule --video v --images a b --preset v1";
    let found = config(&typed.split_whitespace().collect::<Vec<_>>());
    for (name, setting) in found.as_object().unwrap() {
        assert_eq!(setting["from"], "flag", "{name}");
    }
    assert_eq!(found["use_unipc"]["value"], false);
    assert_eq!(found["use_src_tgt_id"]["value"], true);
    assert_eq!(found["vit_img_cfg"]["value"], Value::Null);
    assert_eq!(found["images"]["value"], json!(["a", "b"]));
    for (name, setting) in config(&[]).as_object().unwrap() {
        assert_eq!(setting["from"], "default", "{name}");
    }
}

#[test]
fn the_last_of_two_equal_flags_wins_as_in_the_official_scripts() {
    let found = config(&["--seed", "1", "--height", "32", "--seed", "2"]);
    assert_eq!(found["seed"], setting(2, "flag"));
}

#[test]
fn the_table_shows_every_case() {
    let cases =
        file("two.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"output\": \"b.png\"}");
    let table = succeed(&["run", "/nowhere", "--print-config", "--inputs", text(&cases)]);
    assert!(table.contains("case 1 of 2") && table.contains("case 2 of 2"), "{table}");
    let lines: Vec<_> = table.lines().filter(|line| line.starts_with("output ")).collect();
    assert!(lines[0].contains("default") && lines[0].contains("outputs/output.mp4"), "{table}");
    assert!(lines[1].contains("case file") && lines[1].contains("b.png"), "{table}");
}

#[test]
fn presets_belong_to_the_full_model_and_its_tasks() {
    let result =
        call(&["run", "/nowhere", "--print-config", "--preset", "v2", "--task_type", "vi2v"]);
    let message = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(2));
    assert!(message.contains("vi2v") && message.contains("ads2v"), "{message}");
    let result = call(&["run", "/nowhere", "--preset", "v3"]);
    assert!(String::from_utf8_lossy(&result.stderr).contains("v1 or v2"));
    let result = run(&["--prompt", "a", "--preset", "v1"]);
    let message = String::from_utf8_lossy(&result.stderr);
    assert!(message.contains("this folder is renderer-only"), "{message}");
}

#[test]
fn cases_that_would_overwrite_each_other_are_refused() {
    let one = json!({ "prompt": "a", "output": TINY.path("same.png") });
    let other = TINY.path("./same.png");
    let cases = file("same.json", &json!([one, { "prompt": "b", "output": other }]).to_string());
    let result = run(&["--num_frames", "1", "--inputs", text(&cases)]);
    let message = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(2), "{message}");
    assert!(message.contains("two cases") && message.contains("same.png"), "{message}");
    assert!(!TINY.path("same.png").exists());
    let case = file("one.json", r#"{"prompt": "a"}"#);
    let result = run(&["--case", text(&case), "--inputs", text(&cases)]);
    assert!(String::from_utf8_lossy(&result.stderr).contains("cannot be used with"));
}

#[test]
fn a_file_of_cases_runs_one_after_another_and_reports_a_list() {
    let (a, b) = (TINY.path("many_a.png"), TINY.path("many_b.png"));
    let lines = [json!({ "prompt": "a", "output": a }), json!({ "prompt": "b", "output": b })];
    let cases = file("many.jsonl", &lines.map(|line| line.to_string()).join("\n"));
    let result = run(&["--num_frames", "1", "--json", "--inputs", text(&cases)]);
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
    let reports: Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!(reports.as_array().unwrap().len(), 2);
    assert_ne!(fs::read(a).unwrap(), fs::read(b).unwrap());
}

#[test]
fn a_bad_case_stops_the_file_before_the_first_runs() {
    let first = TINY.path("first.png");
    let bad = json!({ "prompt": " ", "output": TINY.path("second.png") });
    let cases = json!([{ "prompt": "a", "output": first }, bad]);
    let cases = file("bad.json", &cases.to_string());
    let result = run(&["--num_frames", "1", "--inputs", text(&cases)]);
    let message = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(2), "{message}");
    assert!(message.contains("case 2 of 2") && message.contains("prompt is empty"), "{message}");
    assert!(!first.exists());
}

#[test]
fn the_full_model_names_its_modes() {
    refused(&["--task_type", "t2v"], &["rv2v_wapg for this model", "vae_txt_vit_wapg, rv2v_wapg"]);
    refused(&["--guidance_mode", "t2v_apg"], &["t2v_apg", "renderer-only"]);
}

#[test]
fn the_full_model_says_which_source_is_missing() {
    let mode = ["--guidance_mode", "vae_txt_vit_wapg", "--task_type"];
    let needs = |rest: &[&str], words: &[&str]| refused(&[&mode[..], rest].concat(), words);
    needs(&["v2v"], &["v2v needs a source video"]);
    needs(&["rv2v", "--images", "x.png"], &["rv2v needs a source video"]);
    needs(&["rv2v", "--video", "x.mp4"], &["rv2v needs reference images"]);
    needs(&["ads2v", "--video", "x.mp4"], &["ads2v needs reference images"]);
    needs(&["r2v"], &["r2v needs reference images"]);
    needs(&["i2i"], &["i2i needs an image"]);
    needs(&["i2i", "--image", "x.png", "--images", "y.png"], &["image and images are both given"]);
}

#[test]
fn there_is_an_example_for_every_task_that_parses() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let mut tasks = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_string();
        if path.extension().is_some_and(|extension| extension == "json") {
            let found = config(&["--case", text(&path)]);
            let task = found["task_type"]["value"].as_str().unwrap();
            assert_eq!(name.trim_start_matches("renderer_"), task);
            assert_eq!(found["output"]["from"], "default", "{name}: --output must win");
            tasks.push(name);
        }
    }
    for task in ["t2i", "i2i", "t2v", "v2v", "mv2v", "r2v", "rv2v", "ads2v"] {
        assert!(tasks.iter().any(|name| name == task), "no example for {task}");
    }
    assert_eq!(config(&["--inputs", &format!("{folder}/many.jsonl")]).as_array().unwrap().len(), 2);
}
