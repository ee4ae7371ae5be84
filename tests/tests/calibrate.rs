//! From a checkpoint to FP8 graphs with measured scales, as `bernini calibrate` does it.

#![allow(clippy::unwrap_used)]

mod methods;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use bernini_calibration::balance::{Balance, Fold};
use bernini_calibration::{CalibrationTable, Method, Policy, TableError};
use bernini_exporter::{
    Calibration, Checkpoint, ExportError, ExportOptions, export, inspect, synth,
};
use bernini_graphs::manifest::{PrecisionName, Variant};
use bernini_graphs::{Component, Taps};
use bernini_runner::backend::OnnxRuntime;
use bernini_runner::calibrate::{Calibrating, Measurements, is_tapped};
use bernini_runner::export::Export;
use bernini_runner::guidance::{ApgParams, GuidanceMode, Omegas};
use bernini_runner::pipeline::{Pipeline, Silent, Trace};
use bernini_runner::prompts::DEFAULT_NEG_PROMPT;
use bernini_runner::renderer::SourceIds;
use bernini_runner::request::Request;
use bernini_runner::scheduler::SchedulerKind;
use bernini_tests::relative_l2;
use safetensors::SafeTensors;

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

/// Runs the request on an f32 export with `taps`; the tables without and with re-balancing and with
/// centred keys, and what lay on the way.
fn calibrated(checkpoint: &Path, folder: &Path, taps: Taps) -> ([CalibrationTable; 3], Trace) {
    let (source, measurements, trace) = measured(checkpoint, folder, taps);
    let table =
        |balance| measurements.table(&source, vec!["t2v".into()], Method::Amax, balance).unwrap();
    let [plain, balanced] = [false, true].map(table);
    measurements.center_keys();
    ([plain, balanced, table(false)], trace)
}

/// The same, as the checkpoint's fingerprint and the measurements.
fn measured(checkpoint: &Path, folder: &Path, taps: Taps) -> (String, Measurements, Trace) {
    let out = folder.join(format!("{taps:?}"));
    let options =
        ExportOptions { taps, ..ExportOptions::new(checkpoint, &out, PrecisionName::F32) };
    let export = write(&options).unwrap();
    assert!(inspect(&out, true).unwrap().ok());
    let tapped = export.manifest().submodules.values().any(|entry| is_tapped(&entry.outputs));
    assert_eq!(tapped, taps != Taps::None);
    let (source, measurements) = (export.manifest().source.clone(), Measurements::default());
    let backend = OnnxRuntime::new(export.clone()).unwrap();
    let backend = Calibrating::new(backend, measurements.clone());
    let pipeline = Pipeline::open(export, Box::new(backend)).unwrap();
    let request = request(&folder.join(format!("{taps:?} frames/")));
    let plan = request.plan(Variant::Renderer).unwrap();
    let (_, trace) = pipeline.run_traced(&request, &plan).unwrap();
    (source, measurements, trace)
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
    let ([nothing, ..], plain) = calibrated(&checkpoint, folder.path(), Taps::None);
    assert!(nothing.submodules.is_empty());
    let ([table, ..], trace) = calibrated(&checkpoint, folder.path(), Taps::Amax);
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

    let [fp8, bf16] = ["fp8", "bf16"].map(|name| folder.path().join(name));
    let options = ExportOptions {
        policy: Policy::named("all-fp8").unwrap(),
        calibration: Some(Calibration::Table(table.clone())),
        ..ExportOptions::new(&checkpoint, &fp8, PrecisionName::Fp8)
    };
    let manifest = write(&options).unwrap().manifest().clone();
    assert!(!manifest.uncalibrated && inspect(&fp8, true).unwrap().ok());
    let bf16 = write(&ExportOptions::new(&checkpoint, &bf16, PrecisionName::Bf16)).unwrap();
    for stem in ["text_encoder", "transformer_2"] {
        let [fp8, bf16] = [&manifest, bf16.manifest()].map(|m| m.submodules[stem].weights.bytes);
        assert!(fp8 < bf16, "{stem}");
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

/// Changes all tensors of a checkpoint's attentions, given by their name below the block's path,
/// their elements, and how many a row has.
fn edit(checkpoint: &Path, change: impl Fn(&str, &mut [f32], usize)) {
    for expert in ["transformer", "transformer_2"] {
        for file in std::fs::read_dir(checkpoint.join(expert)).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|extension| extension == "safetensors") {
                let mut bytes = std::fs::read(&file).unwrap();
                edit_file(&mut bytes, &change);
                std::fs::write(&file, bytes).unwrap();
            }
        }
    }
}

/// The same in one safetensors file.
fn edit_file(file: &mut [u8], change: impl Fn(&str, &mut [f32], usize)) {
    let (header, metadata) = SafeTensors::read_metadata(file).unwrap();
    for (name, info) in metadata.tensors() {
        let Some(tensor) = name.find("attn").map(|at| &name[at..]) else { continue };
        let (start, end) = info.data_offsets;
        let (data, _) = file[8 + header + start..8 + header + end].as_chunks_mut();
        let mut values: Vec<f32> = data.iter().map(|x| f32::from_le_bytes(*x)).collect();
        change(tensor, &mut values, info.shape[1..].iter().product());
        data.iter_mut().zip(values).for_each(|(data, x)| *data = x.to_le_bytes());
    }
}

/// Makes channels of every attention uneven by `octaves`, and leaves what the model computes.
fn spread(checkpoint: &Path, octaves: i8) {
    const CHANNELS: i8 = 60;
    let every_second = |of: i8| move |c: i8| if c / of % 2 == 0 { -octaves } else { 0 };
    let balance = Balance {
        // Channels that rotate together, 2p and 2p + 1, are scaled together.
        queries: (0..CHANNELS).map(every_second(2)).collect(),
        values: (0..CHANNELS).map(every_second(1)).collect(),
    };
    fold_all(checkpoint, |tensor| balance.fold(tensor));
}

/// Folds into all attentions of both experts what `of` says of a tensor, given by its name below the
/// attention's path.
fn fold_all(checkpoint: &Path, of: impl Fn(&str) -> Option<Fold>) {
    edit(checkpoint, |tensor, values, columns| {
        let (_, tensor) = tensor.split_once('.').unwrap();
        if let Some(fold) = of(tensor) {
            fold.apply(values, 0, columns);
        }
    });
}

/// Guided velocities of both steps, the second one at the latents of `teacher` where there is one.
fn steps(options: &ExportOptions, teacher: Option<&Trace>) -> Trace {
    let export = write(options).unwrap();
    let backend = Box::new(OnnxRuntime::new(export.clone()).unwrap());
    let pipeline = Pipeline::open(export, backend).unwrap();
    let request = request(&options.out.join("frames/"));
    let plan = request.plan(Variant::Renderer).unwrap();
    let teacher = teacher.map(|trace| &trace.latents[..]);
    pipeline.follow(&request, &plan, teacher, &Silent, &AtomicBool::new(false)).unwrap().1
}

/// The larger relative L2 of two steps.
fn error(found: &Trace, expected: &Trace) -> f64 {
    let steps = found.velocities.iter().zip(&expected.velocities);
    let errors = steps.map(|(a, b)| relative_l2(a.as_slice().unwrap(), b.as_slice().unwrap()));
    errors.fold(0.0, f64::max)
}

#[test]
fn re_balancing_changes_nothing_in_f32_and_pays_where_channels_are_very_uneven() {
    for (octaves, gain) in [(0, 0.9..1.1), (16, 1.5..100.0)] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = folder.path().join("checkpoint");
        synth::write(synth::Preset::Tiny, Variant::Renderer, 5, &checkpoint).unwrap();
        spread(&checkpoint, octaves);
        let (tables, _) = calibrated(&checkpoint, folder.path(), Taps::Amax);
        assert!(tables[0].balance.is_empty() && tables[1].balance["transformer_2"].len() == 4);
        let f32 = ExportOptions::new(&checkpoint, &folder.path().join("f32"), PrecisionName::F32);
        let exact = steps(&f32, None);
        let with = |name: &str, policy, table: &CalibrationTable| {
            let options = ExportOptions {
                policy,
                calibration: Some(Calibration::Table(table.clone())),
                ..ExportOptions::new(&checkpoint, &folder.path().join(name), PrecisionName::Fp8F32)
            };
            error(&steps(&options, Some(&exact)), &exact)
        };
        // Without a layer in FP8, only the factors in the weights are left of a table.
        let nothing = Policy { name: "nothing".into(), rules: vec![], attention: vec![] };
        let unchanged = with("folded", nothing, &tables[1]);
        assert!(unchanged <= 1e-5, "{octaves} octaves: {unchanged:.2e}");
        let attention = || Policy { rules: vec![], ..Policy::named("all-fp8-attention").unwrap() };
        let plain = with("plain", attention(), &tables[0]);
        let balanced = with("balanced", attention(), &tables[1]);
        eprintln!(
            "{octaves} octaves: f32 {unchanged:.1e}, plain {plain:.4}, balanced {balanced:.4}"
        );
        assert!(gain.contains(&(plain / balanced)), "{octaves} octaves: {plain} {balanced}");
    }
}

#[test]
fn keys_that_share_much_are_centred_and_the_steps_come_closer() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint");
    synth::write(synth::Preset::Tiny, Variant::Renderer, 5, &checkpoint).unwrap();
    let ([.., centered], _) = calibrated(&checkpoint, folder.path(), Taps::Amax);
    let marked = |table: &CalibrationTable| {
        let all = table.attention.values().flatten().filter(|(_, amax)| amax.center_keys);
        all.map(|(path, _)| path.clone()).collect::<Vec<_>>()
    };
    assert_eq!(marked(&centered), Vec::<String>::new(), "random keys share nothing");

    // Most of a key is the same for all tokens, and scores depend on the rest.
    edit(&checkpoint, |tensor, values, _| match tensor {
        "attn1.to_k.bias" => values.iter_mut().for_each(|x| *x += 8.0),
        "attn1.norm_k.weight" => values.iter_mut().for_each(|x| *x *= 8.0),
        _ => {}
    });
    let folder = folder.path().join("shared");
    let ([plain, _, centered], _) = calibrated(&checkpoint, &folder, Taps::Amax);
    let own = ["blocks.0.attn1", "blocks.1.attn1"];
    assert_eq!(marked(&centered), [own, own].concat(), "cached keys stay as they are");
    let k = |table: &CalibrationTable| table.attention("transformer", own[0]).unwrap().k;
    assert_eq!(k(&centered), k(&plain), "the scale has room for both");

    let exact =
        steps(&ExportOptions::new(&checkpoint, &folder.join("f32"), PrecisionName::F32), None);
    let policy = Policy { rules: vec![], ..Policy::named("all-fp8-attention").unwrap() };
    let options = |name: &str, table: &CalibrationTable| ExportOptions {
        policy: policy.clone(),
        calibration: Some(Calibration::Table(table.clone())),
        ..ExportOptions::new(&checkpoint, &folder.join(name), PrecisionName::Fp8F32)
    };
    let [without, with] = [("plain", &plain), ("centered", &centered)]
        .map(|(name, table)| error(&steps(&options(name, table), Some(&exact)), &exact));
    println!("keys as they are: {without:.5}, centred: {with:.5}");
    assert!(1.3 * with < without, "{with} {without}");

    let manifest = Export::open(&folder.join("centered")).unwrap().manifest().clone();
    assert_eq!(manifest.submodules["transformer"].fp8.centered, 2);
    let refused = write(&options("centered", &plain)).unwrap_err();
    assert!(refused.to_string().contains("graph (policy, scales"), "{refused}");
    // Cached keys come as they are, whatever a table says.
    let mut wrong = centered.clone();
    let attentions = wrong.attention.get_mut("transformer").unwrap();
    attentions.get_mut("blocks.1.attn2").unwrap().center_keys = true;
    let refused = write(&options("wrong", &wrong)).unwrap_err().to_string();
    assert!(refused.contains("center_keys at blocks.1.attn2, whose keys are cached"), "{refused}");
}

#[test]
fn factors_are_a_part_of_what_an_export_is_and_must_fit_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint");
    synth::write(synth::Preset::Tiny, Variant::Renderer, 5, &checkpoint).unwrap();
    let (tables, _) = calibrated(&checkpoint, folder.path(), Taps::Amax);
    let out = folder.path().join("out");
    let with = |table: &CalibrationTable| ExportOptions {
        calibration: Some(Calibration::Table(table.clone())),
        ..ExportOptions::new(&checkpoint, &out, PrecisionName::Fp8F32)
    };
    let mut table = tables[1].clone();
    let balance = table.balance.get_mut("transformer").unwrap().get_mut("blocks.1.attn2").unwrap();
    balance.values.pop();
    let refused = write(&with(&table)).unwrap_err();
    let message = refused.to_string();
    assert!(message.contains("blocks.1.attn2.to_v.weight") && message.contains("60"), "{message}");
    assert!(!out.exists(), "refused before anything is written");

    write(&with(&tables[1])).unwrap();
    let mut other = tables[1].clone();
    other.balance.clear();
    let refused = write(&with(&other)).unwrap_err();
    assert!(refused.to_string().contains("re-balancing of attention"), "{refused}");
}
