//! The full package: every tensor accounted for, every file of the planner exported.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use bernini_exporter::checkpoint::StoredType;
use bernini_exporter::synth::{self, Blueprint, Preset, SynthError, SynthTensor, SynthWeights};
use bernini_exporter::{
    Calibration, Checkpoint, CheckpointReport, ExportOptions, InspectReport, export, inspect,
};
use bernini_graphs::manifest::{EXPORT_MANIFEST, ExportManifest, PrecisionName, Variant};
use serde_json::{Value, json};

use crate::common::{Fixture, contents, edit_header};

fn report(checkpoint: &Path) -> CheckpointReport {
    match inspect(checkpoint, false).unwrap() {
        InspectReport::Checkpoint(report) => report,
        InspectReport::Export(_) => panic!("not a checkpoint"),
    }
}

/// `(folder, accounted, tensors)` of every folder of weights.
fn counts(report: &CheckpointReport) -> Vec<(&str, usize, usize)> {
    report.folders.iter().map(|f| (f.folder.as_str(), f.accounted, f.tensors)).collect()
}

#[test]
fn all_3315_tensors_of_the_release_are_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("release");
    let refused = synth::write(Preset::Full, Variant::Full, 0, &out);
    assert!(matches!(refused, Err(SynthError::TooLarge)));
    let bytes = synth::write_names(Preset::Full, Variant::Full, &out).unwrap();
    let report = report(&out);
    assert!(report.ok && report.warnings.is_empty(), "{:?}", report.warnings);
    assert_eq!(counts(&report), [("bernini", 3315, 3315), ("vae", 194, 194)]);

    // Tensors and parameters of spec A.9; the shards are f32.
    let expected = [
        ("vision", 390, None),
        ("planner_lm", 339, None),
        ("connector", 12, Some(70_019_072)),
        ("flow_head", 140, Some(1_438_084_608)),
        ("mask_tokens", 1, Some(14_680_064)),
        ("text_encoder", 243, Some(5_680_910_336 + 1_050_148_864)),
        ("transformer", 1095, Some(14_288_491_584)),
        ("transformer_2", 1095, Some(14_288_491_584)),
        ("vae", 194, Some(126_892_531)),
    ];
    assert_eq!(report.components.len(), expected.len());
    for (component, (name, tensors, parameters)) in report.components.iter().zip(expected) {
        assert_eq!((component.name, component.tensors), (name, tensors));
        assert_eq!(component.parameters, parameters.unwrap_or(component.parameters), "{name}");
    }
    let planner: u64 = report.components[..2].iter().map(|c| c.parameters).sum();
    assert_eq!(planner, 8_292_166_656);
    assert_eq!(bytes, report.components.iter().map(|c| c.bytes).sum::<u64>());

    let skipped: usize = report.components.iter().map(|c| c.skipped.len()).sum();
    // Both embeddings of UMT5; embedding, norm, lm_head and the 12 of layer 27; the mask tokens.
    assert_eq!(skipped, 2 + 3 + 12 + 1);
    let disk: u64 = contents_on_disk(&out);
    assert!(disk < 64 << 20, "{disk} bytes on disk for names alone");
}

#[test]
fn every_preset_has_the_tensors_that_its_graphs_read() {
    let dir = tempfile::tempdir().unwrap();
    for preset in [Preset::Tiny, Preset::Slim, Preset::Deep, Preset::Full] {
        for layout in [Variant::Renderer, Variant::Full] {
            let out = dir.path().join(format!("{preset:?} {layout:?}"));
            synth::write_names(preset, layout, &out).unwrap();
            let report = report(&out);
            assert!(report.ok && report.warnings.is_empty(), "{report:?}");
        }
    }
}

/// Bytes of the blocks that all files below `root` take.
fn contents_on_disk(root: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let size = |path: PathBuf| match path.is_dir() {
        true => contents_on_disk(&path),
        false => fs::metadata(path).unwrap().blocks() * 512,
    };
    entries.map(size).sum()
}

#[test]
fn a_tensor_that_is_wrong_is_not_counted() {
    let fixture = Fixture::new(Variant::Full);
    let total = counts(&report(&fixture.checkpoint()))[0].2;
    for shard in fs::read_dir(fixture.path("bernini")).unwrap() {
        let path = shard.unwrap().path();
        if path.extension().is_some_and(|end| end == "safetensors") {
            edit_header(&path, |h| {
                let h =
                    h.replacen("\"mllm.model.layers.1.mlp.up", "\"mllm.model.layers.1.mlp.UP", 1);
                let h =
                    h.replacen("\"mllm.model.layers.2.mlp.up", "\"mllm.model.layers.3.mlp.up", 1);
                h.replacen("[1,5,48]", "[5,1,48]", 1)
            });
        }
    }
    let report = report(&fixture.checkpoint());
    let found: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    let expected = [
        "planner_lm: tensor mllm.model.layers.1.mlp.up_proj.weight is missing: expected shape \
         [68, 48]",
        "planner_lm: tensor mllm.model.layers.1.mlp.UP_proj.weight [68, 48] is extra: no graph \
         reads it",
        "planner_lm: tensor mllm.model.layers.3.mlp.up_proj.weight [68, 48] is extra: no graph \
         reads it",
        "mask_tokens: tensor mask_tokens: expected shape [1, 5, 48], found [5, 1, 48]",
    ];
    assert_eq!(found, expected);
    assert_eq!(counts(&report)[0], ("bernini", total - 3, total));
}

#[test]
fn the_planner_has_its_tables_and_configs() {
    let fixture = Fixture::new(Variant::Full);
    fixture.export(PrecisionName::F32).unwrap();
    let files = contents(&fixture.out());
    let file = |name: &str| &files[Path::new(name)];
    let manifest: ExportManifest = serde_json::from_slice(file(EXPORT_MANIFEST)).unwrap();
    let tables: Vec<_> = manifest.tables.keys().map(String::as_str).collect();
    assert_eq!(tables, ["mask_token", "planner_embeddings", "text_embeddings"]);
    for (stem, config) in [("pred_vit", "connector"), ("planner_lm", "planner_lm")] {
        assert_eq!(manifest.submodules[stem].config, format!("config/{config}.json"));
    }
    let listed: Vec<_> = manifest.config.iter().map(|entry| entry.file.as_str()).collect();
    for name in ["bernini", "vision", "planner_lm", "connector", "flow_head"] {
        assert!(listed.contains(&format!("config/{name}.json").as_str()), "{name}: {listed:?}");
    }
    for name in ["tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"] {
        let copied = file(&format!("config/qwen_tokenizer/{name}"));
        assert_eq!(*copied, fs::read(fixture.path(&format!("mllm/{name}"))).unwrap());
    }
    let config: Value = serde_json::from_slice(file("config/bernini.json")).unwrap();
    assert_eq!(config["switch_dit_boundary"], json!(0.875));
    assert!(listed.contains(&"config/preprocessor_config.json"));

    // Row 0 of the mask tokens, as the checkpoint has it.
    let checkpoint = Checkpoint::open(&fixture.checkpoint()).unwrap();
    let components = checkpoint.components().values();
    let tokens = components.filter_map(|c| c.tensors.get("mask_tokens")).next().unwrap();
    let row = tokens.read(0, 48).unwrap();
    assert!(file("tables/mask_token.safetensors").ends_with(&row));
    assert!(tokens.read(48, 48).unwrap() != row);
}

#[test]
fn a_nested_config_is_exported_as_the_flat_one_is() {
    let [flat, nested] = [false, true].map(|nest| {
        let fixture = Fixture::new(Variant::Full);
        let path = fixture.path("mllm/config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        if nest {
            let mut text = config.clone();
            let keys = ["vision_config", "image_token_id", "video_token_id", "architectures"];
            for key in keys {
                text.as_object_mut().unwrap().remove(key);
            }
            let own = text.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            own.iter().for_each(|key| drop(config.as_object_mut().unwrap().remove(key)));
            config["text_config"] = text;
            fs::write(&path, config.to_string()).unwrap();
        }
        let report = fixture.export(PrecisionName::Bf16).unwrap();
        assert_eq!(report.warnings, [""; 0]);
        contents(&fixture.out()).remove(Path::new("config/planner_lm.json")).unwrap()
    });
    assert_eq!(flat, nested);
    assert!(String::from_utf8(flat).unwrap().contains("vision_start_token_id"));
}

#[test]
fn nonsense_in_the_planners_configs_names_file_and_key() {
    let (mllm, package) = ("mllm/config.json", "config.json");
    let cases = [
        (mllm, "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 1", "num_hidden_layers"),
        (mllm, "\"num_attention_heads\": 6", "\"num_attention_heads\": 0", "num_attention_heads"),
        (mllm, "\"out_hidden_size\": 48", "\"out_hidden_size\": 47", "out_hidden_size"),
        (mllm, "\"in_chans\": 3", "\"in_chans\": 4", "in_chans"),
        (mllm, "\"in_chans\": 3", "\"in_channels\": 1", "in_channels"),
        (mllm, "\"type\": \"mrope\"", "\"type\": \"yarn\"", "yarn"),
        (mllm, "\"use_sliding_window\": false", "\"use_sliding_window\": true", "sliding"),
        (mllm, "\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\"", "hidden_act"),
        (mllm, "\"vision_config\"", "\"fission_config\"", "vision_config"),
        (mllm, "{", "{\"text_config\": 7,", "text_config"),
        (package, "\"target_channels\": 48", "\"target_channels\": 40", "target_channels"),
        (package, "\"out_dim_for_vit\": 48", "\"out_dim_for_vit\": 40", "z_channels"),
        (package, "\"out_dim_for_gen\": 28", "\"out_dim_for_gen\": 27", "text_dim"),
        (package, "\"extra_one_step\": true", "\"extra_one_step\": false", "extra_one_step"),
        (package, "\"clip_diff_cfg\"", "\"clip_cfg\"", "clip_diff_cfg"),
        (package, "\"num_mask_token\": 5", "\"num_mask_token\": -5", "num_mask_token"),
        (package, "0.875", "87.5", "switch_dit_boundary"),
    ];
    for (file, from, to, expected) in cases {
        let fixture = Fixture::new(Variant::Full);
        fixture.replace(file, from, to);
        let error = Checkpoint::open(&fixture.checkpoint()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(file), "{error}");
        assert!(fixture.export(PrecisionName::F32).is_err());
        assert!(fixture.left_behind().is_empty());
    }
    let fixture = Fixture::new(Variant::Full);
    fixture.replace(package, "{", "{\"mystery\": 1,");
    fixture.replace(mllm, "\"depth\"", "\"enigma\": 1, \"depth\"");
    fs::remove_file(fixture.path("mllm/tokenizer.json")).unwrap();
    let checkpoint = Checkpoint::open(&fixture.checkpoint()).unwrap();
    assert_eq!(checkpoint.warnings().len(), 2, "{:?}", checkpoint.warnings());
    fs::remove_file(fixture.path("mllm/merges.txt")).unwrap();
    let error = Checkpoint::open(&fixture.checkpoint()).unwrap_err().to_string();
    assert!(error.contains("mllm/tokenizer.json"), "{error}");
}

#[test]
fn fp8_covers_the_language_model_and_neither_heads_nor_text_encoder() {
    let fixture = Fixture::new(Variant::Full);
    let options = ExportOptions {
        calibration: Some(Calibration::Synthetic),
        ..fixture.options(PrecisionName::Fp8)
    };
    export(&options, &(), &AtomicBool::new(false)).unwrap();
    let text = |stem: &str| fs::read(fixture.out().join(format!("{stem}.onnx"))).unwrap();
    let quantised = |stem| text(stem).windows(16).any(|part| part == b"DequantizeLinear");
    assert!(quantised("planner_lm"));
    for stem in
        ["text_encoder", "vision", "pred_vit", "flow_head_modulation", "flow_head", "proj_gen"]
    {
        assert!(!quantised(stem), "{stem}");
    }
    assert!(inspect(&fixture.out(), true).unwrap().ok());
}

/// The golden checkpoint, with the names that the reference code gives its tensors.
fn golden() -> Blueprint {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens");
    let text = fs::read(goldens.join("tiny.json")).unwrap();
    let golden: Value = serde_json::from_slice(&text).unwrap();
    let configs = golden["configs"].as_object().unwrap();
    let mut files: Vec<_> =
        configs.iter().map(|(path, value)| (path.clone(), value.to_string().into())).collect();
    for (to, from) in golden["tokenizers"].as_object().unwrap() {
        for (name, bytes) in contents(&goldens.join(from.as_str().unwrap())) {
            files.push((format!("{to}/{}", name.display()), bytes));
        }
    }
    let mut folders: BTreeMap<&str, Vec<SynthTensor>> = BTreeMap::new();
    for (full, rule) in golden["tensors"].as_object().unwrap() {
        let (folder, name) = full.split_once('.').unwrap();
        let source = rule["same_as"].as_str().unwrap_or(full);
        let rule = &golden["tensors"][source];
        let (mean, std) = (rule["mean"].as_f64().unwrap(), rule["std"].as_f64().unwrap());
        let shape = serde_json::from_value(rule["shape"].clone()).unwrap();
        let values = synth::Values { name: source.into(), mean, std, heavy_tail: false };
        folders.entry(folder).or_default().push(SynthTensor { name: name.into(), shape, values });
    }
    let weights = folders.into_iter().map(|(folder, tensors)| {
        let (stem, shards) =
            if folder == "vae" { ("diffusion_pytorch_model", 1) } else { ("model", 3) };
        SynthWeights { folder: folder.into(), stem, shards, tensors }
    });
    Blueprint { files, weights: weights.collect(), dtype: StoredType::F32 }
}

#[test]
fn a_package_with_the_reference_codes_names_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("golden");
    golden().write(&source).unwrap();
    let report = report(&source);
    assert!(report.ok && report.warnings.is_empty(), "{report:?}");
    assert_eq!(counts(&report), [("bernini", 283, 283), ("vae", 194, 194)]);
    for precision in [PrecisionName::F32, PrecisionName::Bf16] {
        let out = dir.path().join(format!("{precision:?}"));
        export(&ExportOptions::new(&source, &out, precision), &(), &AtomicBool::new(false))
            .unwrap();
        assert!(inspect(&out, true).unwrap().ok());
    }
}
