//! From a checkpoint to FP8 graphs with measured scales, as `bernini calibrate` does it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use bernini_calibration::{CalibrationTable, Policy, TableError};
use bernini_exporter::{
    Calibration, Checkpoint, ExportError, ExportOptions, export, inspect, synth,
};
use bernini_graphs::manifest::{PrecisionName, Variant};
use bernini_graphs::{Component, Taps};
use bernini_runner::backend::OnnxRuntime;
use bernini_runner::calibrate::{Calibrating, Measurements, is_tapped};
use bernini_runner::export::Export;
use bernini_runner::guidance::{ApgParams, GuidanceMode, Omegas};
use bernini_runner::pipeline::{Pipeline, Trace};
use bernini_runner::prompts::DEFAULT_NEG_PROMPT;
use bernini_runner::renderer::SourceIds;
use bernini_runner::request::Request;
use bernini_runner::scheduler::SchedulerKind;

/// Two steps, one of each expert.
fn request(output: &Path) -> Request {
    Request {
        task_type: "t2v".into(),
        guidance_mode: GuidanceMode::parse("t2v", Variant::Renderer).unwrap(),
        prompt: "a cat walks".into(),
        neg_prompt: DEFAULT_NEG_PROMPT.into(),
        system_prompt: String::new(),
        videos: vec![],
        image: None,
        images: vec![],
        output: output.into(),
        num_frames: 5,
        max_image_size: 64,
        height: 32,
        width: 48,
        num_inference_steps: 2,
        scheduler: SchedulerKind::UniPc,
        flow_shift: 5.0,
        seed: 42,
        noise: None,
        fps: 16,
        omegas: Omegas { vid: 1.25, img: 4.5, txt: 4.0, tgt: 0.5, scale: 0.8 },
        apg: ApgParams { eta: 0.5, norm_threshold: [50.0; 3], momentum: 0.0 },
        source_ids: SourceIds { enabled: true, interpolate: true, max_trained: 5 },
        planning_step: 25,
        vit_txt_cfg: 1.2,
        vit_img_cfg: Some(1.0),
        vit_denoising_step: 5,
        reference_schedule: false,
    }
}

fn write(options: &ExportOptions) -> Result<Export, ExportError> {
    export(options, &(), &AtomicBool::new(false))?;
    Ok(Export::open(&options.out).unwrap())
}

/// Runs the request on an f32 export with `taps`; the table, and what lay on the way.
fn calibrated(checkpoint: &Path, folder: &Path, taps: Taps) -> (CalibrationTable, Trace) {
    let out = folder.join(format!("{taps:?}"));
    let options =
        ExportOptions { taps, ..ExportOptions::new(checkpoint, &out, PrecisionName::F32) };
    let export = write(&options).unwrap();
    assert!(inspect(&out, true).unwrap().ok());
    let tapped = export.manifest().submodules.values().any(|entry| is_tapped(&entry.outputs));
    assert_eq!(tapped, taps == Taps::Amax);
    let (source, measurements) = (export.manifest().source.clone(), Measurements::default());
    let backend = OnnxRuntime::new(export.clone()).unwrap();
    let backend = Calibrating::new(backend, measurements.clone());
    let pipeline = Pipeline::open(export, Box::new(backend)).unwrap();
    let request = request(&folder.join(format!("{taps:?} frames/")));
    let plan = request.plan(Variant::Renderer).unwrap();
    let (_, trace) = pipeline.run_traced(&request, &plan).unwrap();
    (measurements.table(&source, vec!["t2v".into()]).unwrap(), trace)
}

/// Largest magnitude of an f32 tensor of the checkpoint.
fn stored_amax(checkpoint: &Path, component: Component, tensor: &str) -> f32 {
    let checkpoint = Checkpoint::open(checkpoint).unwrap();
    let tensor = &checkpoint.components()[&component].tensors[tensor];
    let bytes = tensor.read(0, tensor.elements() as usize).unwrap();
    bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x).abs()).fold(0.0, f32::max)
}

#[test]
fn amax_of_a_short_run_becomes_the_scales_of_an_fp8_export() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint");
    synth::write(synth::Preset::Tiny, Variant::Renderer, 5, &checkpoint).unwrap();
    let (nothing, plain) = calibrated(&checkpoint, folder.path(), Taps::None);
    assert!(nothing.submodules.is_empty());
    let (table, trace) = calibrated(&checkpoint, folder.path(), Taps::Amax);
    assert_eq!(trace.latents, plain.latents, "taps change nothing");

    let measured: BTreeSet<_> = table.submodules.keys().map(String::as_str).collect();
    let experts = ["transformer", "transformer_2"];
    let contexts = ["transformer_context", "transformer_2_context"];
    assert!(measured.iter().eq(["text_encoder"].iter().chain(&sorted(experts, contexts))));
    // The layer behind the context sees the text states of both prompts, and zeros.
    let states = trace.prompt_embeds.iter().flatten();
    let largest = states.map(|x| x.abs()).fold(0.0, f32::max);
    let layer = "condition_embedder.text_embedder.linear_1";
    for stem in contexts {
        assert_eq!(table.amax(stem, layer).unwrap().input, largest);
    }
    for (component, stem, path) in [
        (Component::TextEncoder, "text_encoder", "encoder.block.1.layer.1.DenseReluDense.wo"),
        (Component::Transformer2, "transformer_2", "blocks.1.attn1.to_k"),
    ] {
        let expected = stored_amax(&checkpoint, component, &format!("{path}.weight"));
        assert_eq!(table.amax(stem, path).unwrap().weight, expected, "{path}");
    }

    for (policy, fp8) in [("default", "text_encoder"), ("all-fp8", "transformer_2")] {
        let out = folder.path().join(policy);
        let options = ExportOptions {
            policy: Policy::named(policy).unwrap(),
            calibration: Some(Calibration::Table(table.clone())),
            ..ExportOptions::new(&checkpoint, &out, PrecisionName::Fp8)
        };
        let manifest = write(&options).unwrap().manifest().clone();
        assert!(!manifest.uncalibrated && inspect(&out, true).unwrap().ok());
        let bf16 = folder.path().join("bf16");
        let bf16 = write(&ExportOptions::new(&checkpoint, &bf16, PrecisionName::Bf16)).unwrap();
        let bytes = |submodules: &bernini_graphs::manifest::ExportManifest| {
            submodules.submodules[fp8].weights.bytes
        };
        assert!(bytes(&manifest) < bytes(bf16.manifest()), "{policy}");
    }

    let other = folder.path().join("other");
    synth::write(synth::Preset::Tiny, Variant::Renderer, 6, &other).unwrap();
    let options = ExportOptions {
        calibration: Some(Calibration::Table(table)),
        ..ExportOptions::new(&other, &folder.path().join("refused"), PrecisionName::Fp8)
    };
    let refused = write(&options).unwrap_err();
    assert!(matches!(refused, ExportError::Table(TableError::Source { .. })), "{refused}");
}

fn sorted(experts: [&'static str; 2], contexts: [&'static str; 2]) -> Vec<&'static str> {
    let mut all = [experts, contexts].concat();
    all.sort_unstable();
    all
}
