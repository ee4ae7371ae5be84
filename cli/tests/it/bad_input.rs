//! Every promise about bad input: exit 2, one clear sentence, no panic, nothing left behind.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::common::{TINY, call, run, text};

/// Runs with `arguments` and expects failure with a message that holds every one of `words`.
fn refused(arguments: &[&str], words: &[&str]) {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("new/out.mp4");
    let mut all = arguments.to_vec();
    if !arguments.contains(&"--output") {
        all.extend(["--output", text(&output)]);
    }
    let result = run(&all);
    let message = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(2), "{arguments:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{arguments:?}: no {word:?} in {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
}

fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = TINY.path(name);
    fs::write(&path, content).unwrap();
    path
}

/// A PNG that claims `width` × `height` and holds a few bytes of pixels.
fn png_bomb(width: u32, height: u32) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, content) in [(b"IHDR", &header[..]), (b"IDAT", &[0x78, 0x9c, 1][..])] {
        png.extend((content.len() as u32).to_be_bytes());
        let checked = [&kind[..], content].concat();
        png.extend(&checked);
        png.extend(crc32(&checked).to_be_bytes());
    }
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| (c >> 1) ^ (0xedb8_8320 & (c & 1).wrapping_neg()))
    })
}

#[test]
fn prompts() {
    refused(&[], &["--prompt is empty"]);
    refused(&["--prompt", "  \n"], &["prompt is empty"]);
    refused(&["--prompt", "a\u{1b}[0m"], &["prompt", "U+001B"]);
    refused(&["--prompt", "a", "--task_type", "t2w"], &["task_type", "t2w", "ads2v"]);
    let long = format!(r#"{{"prompt": "{}"}}"#, "x".repeat(1_100_000));
    let case = file("long.json", long.as_bytes());
    refused(&["--case", text(&case)], &["prompt has 1100000 bytes"]);
}

#[test]
fn case_files() {
    for (content, words) in [
        (r#"{"prompt": "a", "promt": "b"}"#, &["unknown field `promt`", "case.json"][..]),
        (r#"{"prompt": "a", "guidance_mode": "rv2v_apg"}"#, &["rv2v_apg", "v2v_chain"]),
        (r#"{"prompt": 3}"#, &["expected a string"]),
        ("", &["case.json"]),
        ("{", &["case.json"]),
    ] {
        let case = file("case.json", content.as_bytes());
        refused(&["--case", text(&case)], words);
    }
    refused(&["--case", "/nowhere/case.json"], &["/nowhere/case.json"]);
}

#[test]
fn numbers() {
    for (flag, value, words) in [
        ("--num_frames", "0", &["num_frames", "1 to"][..]),
        ("--num_frames", "10000", &["num_frames", "10000"]),
        ("--height", "0", &["height is 0"]),
        ("--width", "5000", &["width", "4096"]),
        ("--num_inference_steps", "0", &["num_inference_steps"]),
        ("--flow_shift", "-1", &["flow_shift"]),
        ("--flow_shift", "nan", &["flow_shift"]),
        ("--omega_txt", "inf", &["omega_txt"]),
        ("--fps", "0", &["fps"]),
        ("--max_trained_src_id", "0", &["max_trained_src_id"]),
    ] {
        refused(&["--prompt", "a", flag, value], words);
    }
}

#[test]
fn media() {
    let corrupt = file("corrupt.mp4", &[7; 5000]);
    let empty = file("empty.mp4", b"");
    let noise = file("noise.png", &[9; 300]);
    let bomb = file("bomb.png", &png_bomb(60_000, 60_000));
    let text_file = file("text.txt", b"not a picture");
    for (flag, path) in [
        ("--video", &corrupt),
        ("--video", &empty),
        ("--video", &text_file),
        ("--images", &noise),
        ("--images", &text_file),
        ("--image", &empty),
    ] {
        refused(&["--prompt", "a", flag, text(path)], &[text(path)]);
    }
    refused(&["--prompt", "a", "--images", text(&bomb)], &["bomb.png", "60000"]);
    refused(&["--prompt", "a", "--video", "/nowhere.mp4"], &["/nowhere.mp4"]);
    let npy = file("noise.npy", b"\x93NUMPY");
    refused(&["--prompt", "a", "--noise", text(&npy)], &["noise.npy"]);
}

#[test]
fn outputs() {
    let prompt = ["--prompt", "a"];
    let to = |output: &str, words: &[&str]| {
        refused(&[&prompt[..], &["--output", output]].concat(), words);
    };
    to("/proc/out.mp4", &["/proc/out.mp4"]);
    to(&format!("{}/out.mp4", text(&file("a_file", b"x"))), &["a_file"]);
    to("out.gif", &["out.gif", ".mp4"]);
    to("out.png", &["out.png"]);
    let one = ["--prompt", "a", "--num_frames", "1", "--output", "out.mp4"];
    refused(&one, &["out.mp4", ".png"]);
}

#[test]
fn exports() {
    let nothing = TINY.path("nothing");
    fs::create_dir_all(&nothing).unwrap();
    let fails = |folder: &str, word: &str| {
        let result = call(&["run", folder, "--prompt", "a"]);
        let message = String::from_utf8_lossy(&result.stderr);
        assert_eq!(result.status.code(), Some(2), "{message}");
        assert!(message.contains(word), "{message}");
    };
    fails(text(&nothing), "neither an export nor an engine folder");
    fails(text(&TINY.path("checkpoint")), "neither an export nor an engine folder");
    let bf16 = TINY.path("bf16");
    let checkpoint = TINY.path("checkpoint");
    crate::common::succeed(&[
        "export",
        text(&checkpoint),
        "-o",
        text(&bf16),
        "--precision",
        "bf16",
    ]);
    fails(text(&bf16), "--precision f32");
    fs::write(bf16.join("transformer.onnx"), b"short").unwrap();
    fails(text(&bf16), "transformer.onnx");
    fs::write(bf16.join("export.json"), b"{}").unwrap();
    fails(text(&bf16), "export.json");
}

/// A folder with the tables and configs of the tiny export, and no engines.
fn engine_folder(name: &str) -> PathBuf {
    let (export, folder) = (TINY.path("export"), TINY.path(name));
    let copy =
        std::process::Command::new("cp").arg("-r").args([&export, &folder]).status().unwrap();
    assert!(copy.success());
    let manifest = fs::read(folder.join("export.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let engines = serde_json::json!({ "name": "NVIDIA H200", "compute_capability": "9.0",
        "cuda_driver": "13.0" });
    let fields = manifest.as_object_mut().unwrap();
    fields.remove("submodules");
    fields.insert("schema".into(), 1.into());
    fields.insert("tensorrt".into(), "10.6.0".into());
    fields.insert("gpu".into(), engines);
    fields.insert("workloads".into(), serde_json::json!([]));
    fields.insert("engines".into(), serde_json::json!({}));
    fs::write(folder.join("engines.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
    folder
}

#[test]
fn engine_folders_that_cannot_run() {
    let folder = engine_folder("engines");
    let output = TINY.path("never/out.mp4");
    let fails = |flags: &[&str], word: &str| {
        let base = ["run", text(&folder), "--prompt", "a", "--guidance_mode", "t2v"];
        let rest = ["--task_type", "t2v", "--output", text(&output)];
        let result = call(&[&base[..], &rest, flags].concat());
        let message = String::from_utf8_lossy(&result.stderr);
        assert_eq!(result.status.code(), Some(2), "{message}");
        assert!(message.contains(word), "{word:?} is not in {message}");
        assert!(!output.exists());
    };
    fails(&[], "holds both export.json and engines.json");
    fs::remove_file(folder.join("export.json")).unwrap();
    fails(&[], "the folder holds no text_encoder");
    fails(&["--vram-limit", "lots"], "such as 60GiB");
    fails(&["--vram-limit", "0"], "a size above 0");
    fs::write(folder.join("engines.json"), b"{}").unwrap();
    fails(&[], "build the engines again");
}

#[test]
fn arguments_that_do_not_belong_together() {
    let checkpoint = TINY.path("checkpoint");
    let out = TINY.path("never");
    let export = |rest: &[&str]| {
        let result = call(&[&["export", text(&checkpoint), "-o", text(&out)], rest].concat());
        assert_eq!(result.status.code(), Some(2), "{rest:?}");
        assert!(!out.exists(), "{rest:?} left something");
        String::from_utf8_lossy(&result.stderr).into_owned()
    };
    assert!(export(&["--precision", "fp8"]).contains("--calibration"));
    assert!(export(&["--calibration", "synthetic"]).contains("--precision fp8"));
    assert!(export(&["--precision", "fp8", "--calibration", "/nowhere"]).contains("/nowhere"));
    let policy = ["--precision", "fp8", "--calibration", "synthetic", "--policy", "best"];
    assert!(export(&policy).contains("best"));
}

#[test]
fn inspect_names_what_is_wrong_and_exits_with_one() {
    // A width that the tensors do not have: many shapes are wrong, none is missing.
    let (good, bad) = (TINY.path("checkpoint"), TINY.path("bad"));
    let copy = std::process::Command::new("cp").arg("-r").args([&good, &bad]).status().unwrap();
    assert!(copy.success());
    let config = bad.join("transformer/config.json");
    let json = fs::read_to_string(&config).unwrap();
    let key = json.find("\"ffn_dim\"").unwrap();
    let end = key + json[key..].find(',').unwrap();
    fs::write(&config, format!("{}\"ffn_dim\": 96{}", &json[..key], &json[end..])).unwrap();
    let result = call(&["inspect", text(&bad)]);
    let report = String::from_utf8_lossy(&result.stdout);
    assert_eq!(result.status.code(), Some(1), "{report}");
    assert!(report.contains("transformer: tensor blocks.0.ffn.net.0.proj.weight"), "{report}");
    assert_eq!(call(&["inspect", text(&good)]).status.code(), Some(0));
    assert_eq!(call(&["inspect", "/nowhere"]).status.code(), Some(2));
}
