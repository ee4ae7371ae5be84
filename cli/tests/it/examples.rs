//! Every case file under examples/ runs, on the model that it is for, with small sizes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::common::{TINY, command, succeed, text};

/// A tiny full checkpoint, exported.
static FULL: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    let (checkpoint, export) = (folder.path().join("checkpoint"), folder.path().join("export"));
    succeed(&["synth", "--preset", "tiny", "-o", text(&checkpoint)]);
    succeed(&["export", text(&checkpoint), "-o", text(&export)]);
    folder
});

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

/// Runs a case file from the repository's root, where its media paths begin.
fn runs(case: &Path) {
    let name = case.file_stem().unwrap().to_str().unwrap();
    let renderer_only = name.starts_with("renderer_");
    let export = if renderer_only { TINY.path("export") } else { FULL.path().join("export") };
    let one_frame = ["t2i", "i2i", "r2i"].iter().any(|task| name.ends_with(task));
    let output = TINY.path(&format!("example_{name}{}", if one_frame { ".png" } else { ".mp4" }));
    // --output is the case file's own; a copy without it lets the test choose.
    let json = fs::read_to_string(case).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&json).unwrap();
    json.as_object_mut().unwrap().remove("output");
    let copy = TINY.path(&format!("example_{name}.json"));
    fs::write(&copy, json.to_string()).unwrap();

    let small = "--num_inference_steps 2 --planning_step 2 --vit_denoising_step 1 \
                 --max_image_size 64 --height 48 --width 64";
    let frames = if one_frame { "1" } else { "5" };
    let mut arguments = vec!["run", text(&export), "--case", text(&copy), "--num_frames", frames];
    arguments.extend(small.split_whitespace());
    arguments.extend(["--output", text(&output)]);
    if !renderer_only {
        arguments.extend(["--preset", "v1"]);
    }
    let result = command(&arguments).current_dir(root()).output().unwrap();
    let message = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success(), "{name}: {message}");
    assert!(output.is_file(), "{name}");
}

fn cases(renderer_only: bool) -> Vec<PathBuf> {
    let files = fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let json = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let of_kind = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("renderer_") == renderer_only
    };
    json.filter(of_kind).collect()
}

#[test]
fn every_task_of_the_full_model_runs_its_example() {
    let cases = cases(false);
    for task in ["t2i", "i2i", "t2v", "v2v", "mv2v", "r2v", "rv2v", "ads2v"] {
        assert!(cases.iter().any(|case| case.ends_with(format!("{task}.json"))), "no {task}.json");
    }
    cases.iter().for_each(|case| runs(case));
}

#[test]
fn every_renderer_only_example_runs() {
    let cases = cases(true);
    assert!(!cases.is_empty());
    cases.iter().for_each(|case| runs(case));
}
