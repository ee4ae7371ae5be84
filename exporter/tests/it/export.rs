//! What an export leaves behind: complete, resumable, the same from either layout.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bernini_calibration::{Amax, CalibrationTable, Method, Policy, TABLE_SCHEMA};
use bernini_exporter::checkpoint::StoredType;
use bernini_exporter::synth::{self, Blueprint, SynthTensor, SynthWeights, Values};
use bernini_exporter::{
    Calibration, Checkpoint, ExportError, ExportOptions, InspectError, InspectReport, Progress,
    export, inspect,
};
use bernini_graphs::manifest::{EXPORT_MANIFEST, ExportManifest, Fp8Entry, PrecisionName, Variant};
use bernini_graphs::{Submodule, Taps};
use serde_json::Value;

use crate::common::{Fixture, contents, never};

/// Raises the flag when a given file begins.
struct CancelAt {
    file: usize,
    begun: Mutex<usize>,
    flag: AtomicBool,
}

impl Progress for CancelAt {
    fn begin(&self, _: &str, _: u64) {
        let mut begun = self.begun.lock().unwrap();
        *begun += 1;
        self.flag.fetch_or(*begun > self.file, Ordering::Relaxed);
    }

    fn advance(&self, _: u64) {}
}

#[test]
fn an_interrupted_export_goes_on_where_it_stopped() {
    let fixture = Fixture::new(Variant::Renderer);
    let options = fixture.options(PrecisionName::Bf16);
    let cancel = CancelAt { file: 3, begun: Mutex::new(0), flag: never() };
    let stopped = export(&options, &cancel, &cancel.flag);
    assert!(matches!(stopped, Err(ExportError::Cancelled)));
    let left = contents(&fixture.out());
    assert!(!left.keys().any(|name| name.ends_with(EXPORT_MANIFEST)));
    assert!(!left.keys().any(|name| name.extension().is_some_and(|end| end == "part")));

    let unfinished = inspect(&fixture.out(), false);
    assert!(matches!(unfinished, Err(InspectError::Unfinished { .. })));

    // What a killed process leaves in addition.
    fs::write(fixture.out().join("vae_decoder.weights.part"), [1; 99]).unwrap();
    let report = export(&options, &(), &never()).unwrap();
    assert_eq!(report.reused.len(), 3);
    let resumed = contents(&fixture.out());

    fs::remove_dir_all(fixture.out()).unwrap();
    let report = export(&options, &(), &never()).unwrap();
    assert!(report.reused.is_empty() && !report.up_to_date);
    let straight = contents(&fixture.out());
    assert!(resumed == straight, "{:?} and {:?}", resumed.keys(), straight.keys());
    assert!(straight.keys().all(|name| {
        let name = name.to_string_lossy();
        !name.ends_with(".part") && !name.ends_with(".done") && !name.contains("partial")
    }));
}

#[test]
fn a_finished_export_is_left_alone() {
    let fixture = Fixture::new(Variant::Renderer);
    fixture.export(PrecisionName::F32).unwrap();
    let before = contents(&fixture.out());
    let again = fixture.export(PrecisionName::F32).unwrap();
    assert!(again.up_to_date && again.bytes == 0 && again.disk_bytes_per_second.is_none());

    let other = fixture.export(PrecisionName::Bf16).unwrap_err();
    assert!(matches!(other, ExportError::OtherExport { field: "precision", .. }), "{other}");
    let mut taps = fixture.options(PrecisionName::F32);
    taps.taps = Taps::Values;
    let other = export(&taps, &(), &never()).unwrap_err();
    assert!(other.to_string().contains("taps"), "{other}");
    let stranger = Fixture::new(Variant::Full);
    let mut options = stranger.options(PrecisionName::F32);
    options.out = fixture.out();
    let other = export(&options, &(), &never()).unwrap_err();
    assert!(matches!(other, ExportError::OtherExport { field: "source", .. }), "{other}");
    assert!(contents(&fixture.out()) == before);
}

#[test]
fn a_foreign_folder_is_not_touched() {
    let fixture = Fixture::new(Variant::Renderer);
    fs::create_dir(fixture.out()).unwrap();
    fs::write(fixture.out().join("thesis.tex"), "years of work").unwrap();
    let error = fixture.export(PrecisionName::F32).unwrap_err();
    assert!(matches!(error, ExportError::Foreign { .. }), "{error}");
    assert_eq!(contents(&fixture.out()).len(), 1);
    assert!(synth::write(synth::Preset::Tiny, Variant::Full, 0, &fixture.out()).is_err());
    assert_eq!(contents(&fixture.out()).len(), 1);
}

#[test]
fn both_layouts_export_the_same_renderer() {
    let [renderer, full] = [Variant::Renderer, Variant::Full].map(|layout| {
        let fixture = Fixture::new(layout);
        assert!(inspect(&fixture.checkpoint(), false).unwrap().ok());
        fixture.export(PrecisionName::F32).unwrap();
        let mut files = contents(&fixture.out());
        let manifest = files.remove(Path::new(EXPORT_MANIFEST)).unwrap();
        let manifest: ExportManifest = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(manifest.variant, layout);
        assert_eq!(manifest.submodules.len(), if layout == Variant::Full { 15 } else { 9 });
        files
    });
    assert!(renderer.iter().all(|(name, bytes)| full.get(name) == Some(bytes)));
    let more: Vec<_> = full.keys().filter(|name| !renderer.contains_key(*name)).collect();
    assert_eq!(more.len(), 2 * 6 + 2 + 5 + 4 + 1, "{more:?}");
}

#[test]
fn every_file_is_listed_and_a_flipped_bit_is_found() {
    let fixture = Fixture::new(Variant::Renderer);
    fixture.export(PrecisionName::Bf16).unwrap();
    let report = inspect(&fixture.out(), true).unwrap();
    assert!(report.ok(), "{report:?}");
    let text = fs::read_to_string(fixture.out().join(EXPORT_MANIFEST)).unwrap();
    for name in contents(&fixture.out()).keys().filter(|name| !name.ends_with(EXPORT_MANIFEST)) {
        assert!(text.contains(&format!("\"{}\"", name.display())), "{}", name.display());
    }
    let weights = fixture.out().join("vae_encoder.weights");
    let mut bytes = fs::read(&weights).unwrap();
    bytes[777] ^= 1;
    fs::write(&weights, &bytes).unwrap();
    assert!(inspect(&fixture.out(), false).unwrap().ok());
    assert!(!inspect(&fixture.out(), true).unwrap().ok());
    bytes.pop();
    fs::write(&weights, &bytes).unwrap();
    assert!(!inspect(&fixture.out(), false).unwrap().ok());
    for (from, to) in [("vae_encoder.weights", "../vae"), ("\"schema\": 2", "\"schema\": 7")] {
        fs::write(fixture.out().join(EXPORT_MANIFEST), text.replace(from, to)).unwrap();
        assert!(inspect(&fixture.out(), false).map_or(true, |report| !report.ok()), "{to}");
    }
}

#[test]
fn fp8_wants_scales_of_this_checkpoint_for_every_layer() {
    let fixture = Fixture::new(Variant::Renderer);
    let error = fixture.export(PrecisionName::Fp8).unwrap_err();
    assert!(matches!(error, ExportError::NoCalibration), "{error}");
    let source = Checkpoint::open(&fixture.checkpoint()).unwrap().fingerprint().to_string();
    let table = |source: &str, submodules| CalibrationTable {
        schema: TABLE_SCHEMA,
        source: source.into(),
        cases: vec![],
        method: Method::Amax,
        submodules,
        attention: BTreeMap::new(),
        balance: BTreeMap::new(),
        branches: BTreeMap::new(),
    };
    let of = |policy, table, precision| ExportOptions {
        policy: Policy::named(policy).unwrap(),
        calibration: Some(Calibration::Table(table)),
        ..fixture.options(precision)
    };
    let with = |table| of("all-fp8", table, PrecisionName::Fp8);
    let error = export(&with(table("another", BTreeMap::new())), &(), &never()).unwrap_err();
    assert!(matches!(error, ExportError::Table(_)), "{error}");
    let error = export(&with(table(&source, BTreeMap::new())), &(), &never()).unwrap_err();
    let ExportError::MissingAmax { layers } = error else { panic!("{error}") };
    // Seven linears in each of two text layers; ten in each of two blocks, twice.
    assert_eq!(layers.len(), 2 * 7 + 2 * 2 * 10);
    assert!(fixture.left_behind().is_empty());

    let mut submodules: BTreeMap<String, BTreeMap<String, Amax>> = BTreeMap::new();
    for layer in &layers {
        let (stem, path) = layer.split_once(": ").unwrap();
        let layers = submodules.entry(stem.into()).or_default();
        layers.insert(path.into(), Amax { input: 3.0, weight: 0.5 });
    }
    // A table of linear layers alone does not do for a policy with FP8 attention.
    let linears = table(&source, submodules.clone());
    let wanting = of("all-fp8-attention", linears, PrecisionName::Fp8F32);
    let error = export(&wanting, &(), &never()).unwrap_err();
    let ExportError::MissingAmax { layers } = error else { panic!("{error}") };
    assert_eq!(layers.len(), 2 * 2 * 2);
    assert_eq!(layers[0], "transformer: blocks.0.attn1");
    assert!(fixture.left_behind().is_empty());

    let report = export(&with(table(&source, submodules)), &(), &never()).unwrap();
    assert!(!report.uncalibrated && report.policy.as_deref() == Some("all-fp8"));
    assert!(inspect(&fixture.out(), true).unwrap().ok());
}

#[test]
fn attention_as_an_fp8_node_wants_heads_of_128_channels() {
    let fixture = Fixture::new(Variant::Renderer);
    let options = |precision| ExportOptions {
        policy: Policy::named("all-fp8-attention").unwrap(),
        calibration: Some(Calibration::Synthetic),
        ..fixture.options(precision)
    };
    let error = export(&options(PrecisionName::Fp8), &(), &never()).unwrap_err();
    assert!(matches!(error, ExportError::HeadSize { submodule: Submodule::Transformer, .. }));
    assert!(error.to_string().contains("fp8-f32"), "{error}");
    assert!(fixture.left_behind().is_empty());
    export(&options(PrecisionName::Fp8F32), &(), &never()).unwrap();
    let InspectReport::Export(report) = inspect(&fixture.out(), true).unwrap() else { panic!() };
    assert!(report.ok && report.uncalibrated);
    let fp8 = |linears, attentions| Fp8Entry { linears, attentions, centered: 0 };
    assert_eq!(report.fp8["transformer"], fp8(2 * 8, 2 * 2));
    assert_eq!(report.fp8["transformer_2_context"], fp8(2 * 2, 0));
    assert!(!report.fp8.contains_key("vae_decoder_next"));
}

/// The golden checkpoint whose tensor names and shapes come from diffusers and transformers.
fn golden(dtype: StoredType) -> Blueprint {
    let text = include_str!("../../../tests/goldens/renderer.json");
    let golden: Value = serde_json::from_str(text).unwrap();
    let configs = &golden["configs"];
    let mut folders: BTreeMap<String, Vec<SynthTensor>> = BTreeMap::new();
    for (full, rule) in golden["tensors"].as_object().unwrap() {
        let (folder, name) = full.split_once('.').unwrap();
        let values = rule["same_as"].as_str().unwrap_or(full);
        let rule = &golden["tensors"][values];
        let tensor = SynthTensor {
            name: name.into(),
            shape: serde_json::from_value(rule["shape"].clone()).unwrap(),
            values: Values {
                name: values.into(),
                mean: rule["mean"].as_f64().unwrap(),
                std: rule["std"].as_f64().unwrap(),
                heavy_tail: false,
            },
        };
        folders.entry(folder.into()).or_default().push(tensor);
    }
    let spiece = include_bytes!("../../../tests/goldens/tokenizer/spiece.model").to_vec();
    let files = synth::renderer_files(
        &configs["text_encoder"],
        [&configs["transformer"], &configs["transformer_2"]],
        &configs["vae"],
        &configs["scheduler"],
        spiece,
    );
    let weights = folders
        .into_iter()
        .map(|(folder, tensors)| SynthWeights { folder, stem: "model", shards: 2, tensors })
        .collect();
    Blueprint { files, weights, dtype }
}

#[test]
fn checkpoints_with_the_reference_libraries_names_are_accepted_in_three_types() {
    let dir = tempfile::tempdir().unwrap();
    for dtype in [StoredType::F32, StoredType::F16, StoredType::Bf16] {
        let source = dir.path().join(dtype.name());
        golden(dtype).write(&source).unwrap();
        let report = inspect(&source, false).unwrap();
        assert!(report.ok(), "{report:?}");
        for precision in [PrecisionName::F32, PrecisionName::Bf16] {
            let out = dir.path().join(format!("{} {precision:?}", dtype.name()));
            let report = export(&ExportOptions::new(&source, &out, precision), &(), &never());
            assert!(report.unwrap().warnings.is_empty());
            let table = fs::read(out.join("tables/text_embeddings.safetensors")).unwrap();
            let wide = precision == PrecisionName::F32 && dtype != StoredType::Bf16;
            assert_eq!(table.len() % 64, 461 * 20 * if wide { 4 } else { 2 } % 64);
        }
    }
}
