//! `bernini verify` on the tiny checkpoint: against itself, and against one with a changed tensor.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::common::{TINY, call, succeed, text};

const CASE: &str = "--prompt cat --task_type t2v --guidance_mode t2v --num_frames 5 --height 32 \
                    --width 48 --num_inference_steps 4";

fn verify(a: &Path, b: &Path, more: &[&str]) -> Output {
    call(&[&["verify", text(a), text(b)], more].concat())
}

fn report(result: &Output) -> Value {
    let error = String::from_utf8_lossy(&result.stderr);
    serde_json::from_slice(&result.stdout).unwrap_or_else(|_| panic!("{error}"))
}

/// Copies the checkpoint's `component` with the values of one of its tensors in another order.
fn change(checkpoint: &Path, component: &str, tensor: &str) {
    let folder = checkpoint.join(component);
    for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "safetensors") {
            continue;
        }
        let mut bytes = fs::read(&file).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let Some(offsets) = header[tensor]["data_offsets"].as_array() else { continue };
        let at = |index: usize| 8 + length + offsets[index].as_u64().unwrap() as usize;
        let values = &mut bytes[at(0)..at(1)];
        values.rotate_left(values.len() / 8 * 4);
        fs::write(file, bytes).unwrap();
        return;
    }
    panic!("{component} has no {tensor}");
}

#[test]
fn an_export_is_equal_to_itself_on_every_level() {
    let (export, file, page) =
        (TINY.path("export"), TINY.path("verify.json"), TINY.path("verify.html"));
    let mut more = vec!["--json", "-o", text(&file), "--html", text(&page)];
    more.extend(CASE.split_whitespace());
    let result = verify(&export, &export, &more);
    let report = report(&result);
    assert_eq!(result.status.code(), Some(0), "{report}");
    assert_eq!(fs::read_to_string(&file).unwrap(), String::from_utf8(result.stdout).unwrap());
    let option = &report["options"][0];
    let modules = option["modules"].as_array().unwrap();
    let stems: Vec<_> = modules.iter().map(|m| m["submodule"].as_str().unwrap()).collect();
    for stem in ["text_encoder", "transformer", "transformer_2_context", "vae_decoder_next"] {
        assert!(stems.contains(&stem), "{stems:?}");
    }
    for output in modules.iter().flat_map(|module| module["outputs"].as_array().unwrap()) {
        assert_eq!(output["rel_l2"], 0.0, "{output}");
        let rms = output["rms"].as_f64().unwrap();
        // The first chunk is not upsampled in time, so it leaves zeros there (F.3).
        if output["name"].as_str().unwrap().ends_with("upsamplers.0.time_conv") && rms == 0.0 {
            continue;
        }
        assert!((0.1..10.0).contains(&rms), "errors of such values say little: {output}");
    }
    let steps = option["trajectory"]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 4);
    assert!(steps.iter().all(|step| step["rel_l2"] == 0.0), "{steps:?}");
    assert_eq!(option["frames"]["frames"].as_array().unwrap().len(), 5);
    assert_eq!(option["frames"]["worst_psnr"], Value::Null);
    assert_eq!(option["frames"]["worst_ssim"], 1.0);
    let page = fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("data:image/png;base64,").count(), 6);
}

#[test]
fn a_changed_tensor_fails_in_its_submodule_and_in_its_experts_steps_only() {
    let (checkpoint, export) = (TINY.path("changed"), TINY.path("changed_export"));
    let (checkpoint, export) = (checkpoint.as_path(), export.as_path());
    succeed(&["synth", "--preset", "tiny", "--layout", "renderer", "-o", text(checkpoint)]);
    change(checkpoint, "transformer_2", "blocks.0.attn1.to_v.weight");
    succeed(&["export", text(checkpoint), "-o", text(export)]);
    let mut more = vec!["--json"];
    more.extend(CASE.split_whitespace());
    let result = verify(&TINY.path("export"), export, &more);
    assert_eq!(result.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&result.stderr).contains("come from different checkpoints"));
    let report = report(&result);
    let option = &report["options"][0];
    for module in option["modules"].as_array().unwrap() {
        let changed = module["submodule"] == "transformer_2";
        assert_eq!(module["passed"], !changed, "{module}");
        // Found by bisection: these exports have no taps.
        let first = &module["first_beyond"]["name"];
        let expected = if changed { "blocks.0.attn1.to_v".into() } else { Value::Null };
        assert_eq!(*first, expected, "{module}");
    }
    let steps = option["trajectory"]["steps"].as_array().unwrap();
    for step in steps {
        assert_eq!(step["passed"], step["expert"] == "transformer", "{step}");
    }
    let experts: std::collections::BTreeSet<_> =
        steps.iter().map(|s| s["expert"].as_str()).collect();
    assert_eq!(experts.len(), 2);
    assert!(option["frames"]["worst_psnr"].as_f64().is_some(), "frames differ");
    let forgiving = ["--workload", "48x32x5", "--limit", "1000"];
    assert_eq!(verify(&TINY.path("export"), export, &forgiving).status.code(), Some(0));
}

#[test]
fn with_taps_the_first_value_that_breaks_is_named() {
    let checkpoint = TINY.path("tapped_and_changed");
    succeed(&["synth", "--preset", "tiny", "--layout", "renderer", "-o", text(&checkpoint)]);
    let [a, b] = ["taps_a", "taps_b"].map(|name| TINY.path(name));
    let export = |output: &Path| {
        let only = ["--only", "transformer", "--taps", "values"];
        succeed(&[&["export", text(&checkpoint), "-o", text(output)][..], &only].concat());
    };
    export(&a);
    change(&checkpoint, "transformer", "blocks.1.attn1.to_v.weight");
    export(&b);
    let result = verify(&a, &b, &["--workload", "48x32x5", "--json"]);
    let report = report(&result);
    let module = &report["options"][0]["modules"][0];
    assert_eq!(
        module["layers"].as_array().unwrap().len(),
        6,
        "three values of two blocks: {module}"
    );
    let tap = module["first_beyond"]["name"].as_str().unwrap();
    assert!(tap.contains("blocks.1"), "{tap}");
}

#[test]
fn what_cannot_be_compared_is_said_at_once() {
    let export = TINY.path("export");
    let (full_checkpoint, full) = (TINY.path("verify_full"), TINY.path("verify_full_export"));
    succeed(&["synth", "--preset", "tiny", "-o", text(&full_checkpoint)]);
    succeed(&["export", text(&full_checkpoint), "-o", text(&full)]);
    let nowhere = TINY.path("nowhere");
    let sizes = ["--workload", "48x32x5"];
    for (b, more, message) in [
        (&full, &sizes[..], "A is of the Renderer package and verify_full_export of the Full one"),
        (&nowhere, &sizes, "bernini export"),
        (&export, &[], "pass --workload, or --case FILE"),
        (&export, &["--level", "b,c"], "pass --case FILE, or --prompt"),
        (&export, &["--case", "/nowhere.json"], "/nowhere.json"),
        (&export, &["--workload", "50x32x5"], "a multiple of 16"),
        (&export, &["--workload", "48x32x5", "--limit", "-1"], "expected a number of 0 or more"),
        (&export, &["--floor", "/nowhere", "--workload", "48x32x5"], "floor: "),
        (&export, &[text(&export), "--workload", "48x32x5"], "expected different folders"),
        (&export, &["--report", "x.json"], "--report does not go with `bernini verify`"),
    ] {
        let result = verify(&export, b, more);
        let error = String::from_utf8_lossy(&result.stderr);
        assert_eq!(result.status.code(), Some(2), "{more:?}: {error}");
        assert!(error.contains(message), "{more:?}: {error}");
    }
}
