//! `bernini inspect` on an engine folder.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::{TINY, call, text};

const PLAN: &[u8] = b"a plan of 22 bytes ...";

/// An engine folder with one engine.
fn engines(name: &str) -> PathBuf {
    let root = TINY.path(name);
    fs::create_dir_all(root.join("config")).unwrap();
    let file = |name: &str, content: &[u8]| {
        fs::write(root.join(name), content).unwrap();
        let blake3 = blake3::hash(content).to_hex().to_string();
        json!({"file": name, "bytes": content.len(), "blake3": blake3})
    };
    let key = "0123456789abcdef0123456789abcdef";
    let manifest = json!({
        "schema": 1, "bernini": "0.1.0", "source": "cafe", "variant": "renderer",
        "precision": "fp8", "policy": "all-fp8", "uncalibrated": true, "tensorrt": "10.6.0",
        "gpu": {"name": "NVIDIA H200", "compute_capability": "9.0", "cuda_driver": "13.0"},
        "workloads": ["t2v-480p"],
        "engines": {"transformer": {
            "plan": file(&format!("transformer.fp8.{}.plan", &key[..16]), PLAN),
            "key": key, "inputs": [], "outputs": [], "config": "config/transformer.json",
            "profiles": [{"name": "t2v-480p targets", "sizes": {
                "tokens": {"min": 32760, "opt": 32760, "max": 32760},
                "context": {"min": 512, "opt": 512, "max": 2048},
            }}],
            "activation_bytes": 3_000_000, "build_seconds": 115.25,
            "plugin": {"file": "libbernini_plugin.so", "blake3": "beef"},
            "work": {"fp8": "2*tokens", "bf16": "0", "f32": "0"},
        }},
        "tables": {}, "config": [file("config/transformer.json", b"{}")],
    });
    fs::write(root.join("engines.json"), manifest.to_string()).unwrap();
    root
}

fn inspect(root: &Path, more: &[&str]) -> (Option<i32>, String) {
    let result = call(&[&["inspect", text(root)], more].concat());
    assert!(result.stderr.is_empty(), "{}", String::from_utf8_lossy(&result.stderr));
    (result.status.code(), String::from_utf8(result.stdout).unwrap())
}

#[test]
fn an_engine_folder_says_what_it_holds_and_for_which_machine() {
    let root = engines("engines_inspected");
    let (code, shown) = inspect(&root, &["--verify"]);
    assert_eq!(code, Some(0), "{shown}");
    for words in [
        "engines, Renderer, fp8, policy all-fp8",
        "TensorRT 10.6.0 on NVIDIA H200 (compute capability 9.0, CUDA 13.0)",
        "uncalibrated",
        "  0123456789abcdef",
        "t2v-480p targets: context 512 to 2048, best at 512; tokens 32760",
        "runs with libbernini_plugin.so of blake3 beef",
        "2 files, 0.0 MB, hashes checked",
    ] {
        assert!(shown.contains(words), "no {words:?} in {shown}");
    }
    let (code, json) = inspect(&root, &["--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["kind"], &json["ok"]), (Some(0), &json!("engines"), &json!(true)));
    assert_eq!(json["engines"]["transformer"]["plan_bytes"], PLAN.len());
}

#[test]
fn a_spoilt_plan_is_a_finding() {
    let root = engines("engines_spoilt");
    let plan = root.join("transformer.fp8.0123456789abcdef.plan");
    let finds = |more: &[&str], words: &str| {
        let (code, shown) = inspect(&root, more);
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains(words) && shown.contains("1 findings"), "{shown}");
    };
    let mut flipped = PLAN.to_vec();
    flipped[7] ^= 0x10;
    fs::write(&plan, flipped).unwrap();
    assert_eq!(inspect(&root, &[]).0, Some(0), "sizes alone agree");
    finds(&["--verify"], "blake3");
    fs::write(&plan, &PLAN[1..]).unwrap();
    finds(&[], "21 bytes, expected 22");
    fs::remove_file(&plan).unwrap();
    finds(&[], "no such file");
    fs::remove_file(root.join("engines.json")).unwrap();
    fs::write(root.join(".lock"), "").unwrap();
    let result = call(&["inspect", text(&root)]);
    assert_eq!(result.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&result.stderr).contains("run the same build again"));
}
