//! The structure that ARCHITECTURE.md promises, held against the tree.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who may import whom (ARCHITECTURE.md).
const MAY_IMPORT: [(&str, &[&str]); 8] = [
    ("bernini-graphs", &[]),
    ("bernini-calibration", &[]),
    ("bernini-exporter", &["graphs", "calibration"]),
    ("bernini-tensorrt", &[]),
    ("bernini-builder", &["graphs", "calibration", "tensorrt"]),
    ("bernini-runner", &["graphs", "calibration", "tensorrt"]),
    ("bernini", &["graphs", "calibration", "exporter", "tensorrt", "builder", "runner"]),
    ("bernini-tests", &["graphs", "calibration", "exporter", "tensorrt", "builder", "runner"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

#[test]
fn crates_import_only_what_the_map_allows() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed: BTreeMap<_, _> = MAY_IMPORT.into_iter().collect();
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(packages.len(), allowed.len());
    for package in packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let imported = dependency["name"].as_str().unwrap();
            // What only a crate's own tests import does not ship.
            let Some(ours) = imported.strip_prefix("bernini-") else { continue };
            if dependency["kind"] != "dev" {
                assert!(allowed[name].contains(&ours), "{name} imports {imported}");
            }
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') && !["target", "out"].contains(&name) {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_stay_short_enough_to_read() {
    let mut files = vec![];
    sources(&root(), &mut files);
    let mut lengths: Vec<_> = files
        .iter()
        .map(|file| (fs::read_to_string(file).unwrap().lines().count(), file))
        .collect();
    lengths.sort();
    let (median, _) = lengths[lengths.len() / 2];
    let (longest, file) = lengths[lengths.len() - 1];
    println!(
        "{} files, median {median} lines, longest {longest}: {}",
        lengths.len(),
        file.display()
    );
    assert!(median <= 200, "median of {median} lines");
    assert!(longest <= 600, "{} has {longest} lines", file.display());
}

#[test]
fn graphs_touch_no_files() {
    let mut files = vec![];
    sources(&root().join("graphs/src"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("std::fs") && !text.contains("std::net"), "{}", file.display());
    }
}

#[test]
fn every_crate_shares_the_lints_and_only_tensorrt_may_relax_them() {
    for (name, _) in MAY_IMPORT {
        let folder = name.strip_prefix("bernini-").unwrap_or("cli");
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let shared = manifest.contains("[lints]\nworkspace = true");
        assert!(shared || folder == "tensorrt", "{folder} does not share the lints");
    }
}
