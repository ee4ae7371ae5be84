use std::fs;

use bernini_graphs::Submodule::{self, TextEncoder, Transformer, VaeDecoderFirst, VaeEncoderFirst};
use bernini_graphs::manifest::PrecisionName;

use super::*;
use crate::compiler::CompileError;
use crate::export::ExportError;
use crate::files::FileError;
use crate::store::StoreError;
use crate::testing::{Fake, Folders, unwatched};

const ALL: [Submodule; 4] = [TextEncoder, Transformer, VaeEncoderFirst, VaeDecoderFirst];
/// What t2v runs of them.
const T2V: [Submodule; 3] = [TextEncoder, Transformer, VaeDecoderFirst];

/// Builds, and gives the engines that were not reused.
fn built(options: &Options, mut fake: Fake) -> Result<Vec<Submodule>, BuildError> {
    build(options, &mut fake, &unwatched())?;
    Ok(fake.built)
}

fn stems(submodules: &[Submodule]) -> Vec<String> {
    let mut stems: Vec<_> = submodules.iter().map(|s| s.stem().to_string()).collect();
    stems.sort();
    stems
}

fn why(options: &Options, fake: &Fake, submodule: Submodule) -> String {
    let plan = dry_run(options, Some(&fake.platform())).unwrap();
    let engine = plan.engines.into_iter().find(|engine| engine.submodule == submodule).unwrap();
    engine.why
}

#[test]
fn the_second_build_reuses_everything() {
    let folders = Folders::new();
    let options = folders.options(&["v2v-480p"]);
    assert_eq!(built(&options, Fake::new()).unwrap(), ALL);
    assert_eq!(folders.usable(), stems(&ALL));
    let manifest = folders.manifest();
    assert_eq!(built(&options, Fake::new()).unwrap(), []);
    assert_eq!(folders.manifest(), manifest);
    assert_eq!(manifest.workloads, ["v2v-480p"]);
    let entry = &manifest.engines["transformer"];
    assert_eq!(entry.plan.file, format!("transformer.bf16.{}.plan", &entry.key[..16]));
    assert_eq!((entry.activation_bytes, entry.build_seconds), (5, 1.5));
    assert_eq!(entry.profiles.len(), 2);
    let left = fs::read_dir(folders.engines()).unwrap().flatten();
    let mut left: Vec<_> = left.map(|e| e.file_name().into_string().unwrap()).collect();
    left.retain(|name| !name.ends_with(".plan"));
    left.sort();
    assert_eq!(left, [".lock", "config", "engines.json", "layers", "tables", "timing.cache"]);
}

#[test]
fn the_report_says_what_was_done_and_why() {
    let folders = Folders::new();
    let options = folders.options(&["t2v-480p"]);
    build(&Options { only: vec![Transformer], ..options.clone() }, &mut Fake::new(), &unwatched())
        .unwrap();
    let report = build(&options, &mut Fake::new(), &unwatched()).unwrap();
    let lines: Vec<_> = report.engines.iter().map(|e| (e.submodule, e.action)).collect();
    let expected = [
        (TextEncoder, Action::Build),
        (Transformer, Action::Reuse),
        (VaeDecoderFirst, Action::Build),
    ];
    assert_eq!(lines, expected);
    let [text, transformer, _] = &report.engines[..] else { panic!() };
    assert_eq!(text.why, "not built yet");
    assert_eq!(text.layers.as_ref().unwrap().kinds, [("other", 1), ("softmax", 1)].into());
    assert_eq!(transformer.layers, None);
    assert_eq!(text.weight_bytes, "text_encoder weights seed".len() as u64);
    assert!(report.warnings.is_empty() && report.kept.is_empty() && report.removed.is_empty());
}

#[test]
fn what_decides_an_engine_makes_it_anew() {
    let folders = Folders::new();
    let options = folders.options(&["t2v-480p"]);
    built(&options, Fake::new()).unwrap();
    let fake = |change: fn(&mut Fake)| {
        let mut fake = Fake::new();
        change(&mut fake);
        fake
    };
    for (compiler, words) in [
        (fake(|f| f.tensorrt = "10.7.0".into()), "TensorRT was 10.6.0, is 10.7.0"),
        (fake(|f| f.gpu = "NVIDIA H100".into()), "GPU was NVIDIA H200, is NVIDIA H100"),
    ] {
        assert_eq!(why(&options, &compiler, TextEncoder), words);
        assert_eq!(built(&options, compiler).unwrap(), T2V);
        built(&options, Fake::new()).unwrap();
    }
    let wider = folders.options(&["t2v-480p", "t2v-720p"]);
    let new = "the profile \"t2v-720p targets\" is new";
    assert_eq!(why(&wider, &Fake::new(), Transformer), new);
    assert_eq!(built(&wider, Fake::new()).unwrap(), [Transformer, VaeDecoderFirst]);
    let removed = build(&options, &mut Fake::new(), &unwatched()).unwrap().removed;
    assert_eq!(removed.len(), 2);
    let flags = Flags { optimization_level: 5, ..options.flags };
    let slower = Options { flags, ..options.clone() };
    assert!(why(&slower, &Fake::new(), Transformer).contains("flags"));
    assert_eq!(built(&slower, Fake::new()).unwrap(), T2V);
    assert_eq!(folders.plans().len(), 3);
    folders.write_export("other");
    assert_eq!(why(&slower, &Fake::new(), Transformer), "another checkpoint");
    assert_eq!(built(&slower, Fake::new()).unwrap(), T2V);
    assert_eq!((folders.usable(), folders.plans().len()), (stems(&T2V), 3));
}

fn library(blake3: &str) -> Option<PluginLibrary> {
    Some(PluginLibrary { path: "/opt/libbernini_plugin.so".into(), blake3: blake3.into() })
}

#[test]
fn a_plugin_decides_the_engines_that_need_it_and_no_others() {
    let folders = Folders::new();
    folders.use_plugin(Transformer);
    let with = |plugin| Options { plugin, ..folders.options(&["t2v-480p"]) };
    let mut fake = Fake::new();
    build(&with(library("aa")), &mut fake, &unwatched()).unwrap();
    assert_eq!((fake.built, fake.with_plugin), (T2V.into(), vec![Transformer]));
    let engines = folders.manifest().engines;
    let plugin = engines["transformer"].plugin.as_ref().unwrap();
    assert_eq!((plugin.file.as_str(), plugin.blake3.as_str()), ("libbernini_plugin.so", "aa"));
    assert_eq!(engines["text_encoder"].plugin, None);
    assert_eq!(built(&with(library("aa")), Fake::new()).unwrap(), []);
    assert_eq!(why(&with(library("bb")), &Fake::new(), Transformer), "plugin changed");
    assert_eq!(built(&with(library("bb")), Fake::new()).unwrap(), [Transformer]);
}

#[test]
fn a_missing_plugin_is_said_before_anything_is_written() {
    let folders = Folders::new();
    folders.use_plugin(Transformer);
    let options = folders.options(&["t2v-480p"]);
    for error in [dry_run(&options, None).map(drop), built(&options, Fake::new()).map(drop)] {
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("transformer has operators of the plugin"), "{error}");
        assert!(error.contains("BERNINI_PLUGIN"), "{error}");
    }
    assert!(!folders.engines().exists());
    let other = Options { only: vec![TextEncoder], ..options };
    assert_eq!(built(&other, Fake::new()).unwrap(), [TextEncoder]);
}

/// Other names of the same shapes are no reason to build, but the manifest has the new ones.
#[test]
fn names_do_not_decide() {
    let folders = Folders::new();
    built(&folders.options(&["t2v-480p"]), Fake::new()).unwrap();
    assert_eq!(built(&folders.options(&["832x480x81"]), Fake::new()).unwrap(), []);
    let manifest = folders.manifest();
    assert_eq!(manifest.engines["transformer"].profiles[0].name, "832x480x81 targets");
    assert_eq!(manifest.workloads, ["832x480x81"]);
}

#[test]
fn damaged_plans_are_never_reused() {
    let folders = Folders::new();
    let options = folders.options(&["t2v-480p"]);
    built(&options, Fake::new()).unwrap();
    let plan = folders.engines().join(&folders.manifest().engines["transformer"].plan.file);
    let good = fs::read(&plan).unwrap();
    let mut flipped = good.clone();
    flipped[7] ^= 1;
    for (bytes, words) in
        [(&good[..9], "9 bytes, expected"), (&flipped, "blake3"), (b"", "0 bytes")]
    {
        fs::write(&plan, bytes).unwrap();
        let report = build(&options, &mut Fake::new(), &unwatched()).unwrap();
        assert_eq!(
            (report.engines[1].action, report.engines[0].action),
            (Action::Build, Action::Reuse)
        );
        assert!(report.engines[1].why.contains(words), "{}", report.engines[1].why);
        assert_eq!(fs::read(&plan).unwrap(), good);
    }
    fs::remove_file(&plan).unwrap();
    assert_eq!(built(&options, Fake::new()).unwrap(), [Transformer]);
}

#[test]
fn a_first_build_that_fails_is_usable_and_goes_on() {
    let folders = Folders::new();
    let options = folders.options(&["t2v-480p"]);
    let failing = Fake { fails_at: Some(VaeDecoderFirst), ..Fake::new() };
    let error = built(&options, failing).unwrap_err();
    let BuildError::Compile { submodule, source: CompileError::OutOfMemory { .. } } = &error else {
        panic!("{error}")
    };
    assert_eq!(*submodule, VaeDecoderFirst);
    assert!(error.to_string().contains("building vae_decoder_first: the GPU ran out of memory"));
    assert_eq!(folders.usable(), stems(&[TextEncoder, Transformer]));
    assert_eq!(built(&options, Fake::new()).unwrap(), [VaeDecoderFirst]);
    assert_eq!(folders.usable(), stems(&T2V));
}

/// The old engines stay listed and whole until all new ones are there; those that were finished
/// are not built twice.
#[test]
fn a_rebuild_that_is_interrupted_leaves_the_old_engines() {
    let folders = Folders::new();
    let options = folders.options(&["t2v-480p"]);
    built(&options, Fake::new()).unwrap();
    let old = folders.manifest();
    folders.write_export("other");
    for stops_at in [Transformer, VaeDecoderFirst] {
        let stopping = Fake { interrupts_at: Some(stops_at), ..Fake::new() };
        assert!(matches!(built(&options, stopping), Err(BuildError::Interrupted)));
        assert_eq!(folders.manifest(), old);
        assert_eq!(folders.usable(), stems(&T2V));
    }
    assert_eq!(built(&options, Fake::new()).unwrap(), [VaeDecoderFirst]);
    assert_eq!((folders.usable(), folders.plans().len()), (stems(&T2V), 3));
    assert_eq!(folders.manifest().source, "other");
}

#[test]
fn only_builds_what_it_names_and_keeps_the_rest() {
    let folders = Folders::new();
    let all = folders.options(&["v2v-480p"]);
    built(&all, Fake::new()).unwrap();
    let only = Options { only: vec![Transformer], ..folders.options(&["t2v-720p"]) };
    let report = build(&only, &mut Fake::new(), &unwatched()).unwrap();
    assert_eq!(report.engines.len(), 1);
    assert_eq!(report.kept, stems(&[TextEncoder, VaeEncoderFirst, VaeDecoderFirst]));
    assert_eq!(report.workloads, ["t2v-720p", "v2v-480p"]);
    assert_eq!(folders.usable(), stems(&ALL));
    // Another checkpoint's engines cannot stand beside them.
    folders.write_export("other");
    let report = build(&only, &mut Fake::new(), &unwatched()).unwrap();
    assert_eq!((report.kept, report.workloads), (vec![], vec!["t2v-720p".to_string()]));
    assert_eq!((folders.usable(), folders.plans().len()), (stems(&[Transformer]), 1));
}

#[test]
fn engines_that_no_workload_runs_any_more_go() {
    let folders = Folders::new();
    built(&folders.options(&["v2v-480p"]), Fake::new()).unwrap();
    let report = build(&folders.options(&["t2v-480p"]), &mut Fake::new(), &unwatched()).unwrap();
    let gone = |name: &str| report.removed.iter().any(|plan| plan.starts_with(name));
    assert!(gone("vae_encoder_first") && gone("transformer") && !gone("text_encoder"));
    assert_eq!(folders.usable(), stems(&T2V));
}

#[test]
fn timing_caches_go_from_engine_to_engine() {
    let folders = Folders::new();
    let mut fake = Fake::new();
    let options = folders.options(&["t2v-480p"]);
    build(&options, &mut fake, &unwatched()).unwrap();
    assert_eq!(fake.caches, ["", "text_encoder,", "text_encoder,transformer,"]);
    let saved = fs::read_to_string(folders.engines().join("timing.cache")).unwrap();
    assert_eq!(saved, "text_encoder,transformer,vae_decoder_first,");
    let other = Folders::new();
    let file = other.export().join("seed.cache");
    fs::write(&file, "refused").unwrap();
    let seeded = Options { timing_cache: Some(file), ..other.options(&["t2v-480p"]) };
    let report = build(&seeded, &mut Fake::new(), &unwatched()).unwrap();
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    let nowhere = Options { timing_cache: Some("/nowhere".into()), ..options };
    let error = built(&nowhere, Fake::new()).unwrap_err();
    assert!(matches!(error, BuildError::File(FileError::Missing { .. })), "{error}");
}

#[test]
fn a_dry_run_writes_nothing() {
    let folders = Folders::new();
    let options = folders.options(&["v2v-480p"]);
    let plan = dry_run(&options, None).unwrap();
    assert!(!folders.engines().exists());
    let transformer = &plan.engines[1];
    assert_eq!((transformer.submodule, transformer.action), (Transformer, Action::Unknown));
    assert_eq!((&transformer.key, transformer.why.as_str()), (&None, "TensorRT: not found"));
    let shapes: Vec<_> = transformer.inputs.iter().map(|inputs| inputs[0].opt.clone()).collect();
    assert_eq!(shapes, [[1, 32_760, 64], [1, 65_520, 64]]);
    let frames = &plan.engines[2].inputs[0][0];
    assert_eq!(frames.max, [1, 3, 1, 480, 832]);
    built(&options, Fake::new()).unwrap();
    let plan = dry_run(&options, Some(&Fake::new().platform())).unwrap();
    assert!(plan.engines.iter().all(|engine| engine.action == Action::Reuse));
}

#[test]
fn changed_weights_are_noticed_whatever_the_manifest_says() {
    let folders = Folders::new();
    let options = folders.options(&["t2v-480p"]);
    built(&options, Fake::new()).unwrap();
    fs::write(folders.export().join("transformer.data"), "transformer weights seeD").unwrap();
    let error = built(&options, Fake::new()).unwrap_err();
    assert!(matches!(error, BuildError::File(FileError::Hash { .. })), "{error}");
    fs::write(folders.export().join("transformer.data"), "short").unwrap();
    let error = built(&options, Fake::new()).unwrap_err();
    let size = matches!(error, BuildError::Export(ExportError::File(FileError::Size { .. })));
    assert!(size, "{error}");
    assert_eq!(folders.usable(), stems(&T2V));
}

#[test]
fn bad_exports_are_refused_before_anything_is_written() {
    let refused = |edit: fn(&mut bernini_graphs::manifest::ExportManifest), words: &str| {
        let folders = Folders::new();
        folders.edit(edit);
        let error = built(&folders.options(&["t2v-480p"]), Fake::new()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!folders.engines().exists());
    };
    refused(|m| m.precision = PrecisionName::F32, "--precision bf16");
    refused(|m| m.precision = PrecisionName::Fp8F32, "precision fp8-f32");
    refused(|m| m.schema = 9, "schema 9, expected 2");
    refused(|m| m.config[0].file = "../../etc/passwd".into(), "not below the folder");
    refused(|m| m.config[0].bytes += 1, "vae.json");
    refused(|m| m.submodules.clear(), "no submodule");
    refused(
        |m| {
            let entry = m.submodules.remove("transformer").unwrap();
            m.submodules.insert("transfomer".into(), entry);
        },
        "unknown submodule \"transfomer\"",
    );
    let shape = |m: &mut bernini_graphs::manifest::ExportManifest| {
        m.submodules.get_mut("transformer").unwrap().outputs[0].shape[1] = "tokenz".into();
    };
    refused(shape, "the shape [1, tokenz, 64] of tokens has no value in terms of context, tokens");
    let folders = Folders::new();
    let only = |submodule| Options { only: vec![submodule], ..folders.options(&["t2v-480p"]) };
    let error = built(&only(Submodule::Vision), Fake::new()).unwrap_err().to_string();
    assert!(error.contains("vision is not in the export, which has text_encoder,"), "{error}");
    let error = built(&only(VaeEncoderFirst), Fake::new()).unwrap_err().to_string();
    assert!(error.contains("t2v-480p does not run vae_encoder_first"), "{error}");
}

#[test]
fn folders_of_others_are_refused() {
    let folders = Folders::new();
    let options = folders.options(&["t2v-480p"]);
    let into = |engines| Options { engines, ..options.clone() };
    let error = built(&into(folders.export()), Fake::new()).unwrap_err();
    assert!(matches!(error, BuildError::Store(StoreError::Foreign { .. })), "{error}");
    let held = Store::open(&folders.engines()).unwrap();
    let error = built(&options, Fake::new()).unwrap_err();
    assert!(matches!(error, BuildError::Store(StoreError::Locked { .. })), "{error}");
    drop(held);
    built(&options, Fake::new()).unwrap();
    fs::write(folders.engines().join("engines.json"), "{").unwrap();
    let error = built(&options, Fake::new()).unwrap_err();
    assert!(
        matches!(error, BuildError::Store(StoreError::File(FileError::Json { .. }))),
        "{error}"
    );
}

#[test]
fn an_interrupt_before_the_first_engine_builds_nothing() {
    let folders = Folders::new();
    let watch = unwatched();
    watch.interrupted.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut fake = Fake::new();
    let result = build(&folders.options(&["t2v-480p"]), &mut fake, &watch);
    assert!(matches!(result, Err(BuildError::Interrupted)));
    assert!(fake.built.is_empty());
}

/// A build that was stopped while it had little to do lists no fewer engines than before.
#[test]
fn a_repair_that_is_interrupted_keeps_the_other_engines() {
    let folders = Folders::new();
    let options = folders.options(&["v2v-480p"]);
    built(&options, Fake::new()).unwrap();
    for submodule in [TextEncoder, VaeDecoderFirst] {
        let plan = &folders.manifest().engines[submodule.stem()].plan.file;
        fs::write(folders.engines().join(plan), "damaged").unwrap();
    }
    let stopping = Fake { interrupts_at: Some(VaeDecoderFirst), ..Fake::new() };
    assert!(matches!(built(&options, stopping), Err(BuildError::Interrupted)));
    assert_eq!(folders.usable(), stems(&[TextEncoder, Transformer, VaeEncoderFirst]));
    assert_eq!(built(&options, Fake::new()).unwrap(), [VaeDecoderFirst]);
    assert_eq!(folders.usable(), stems(&ALL));
}

/// Killed between the plan and its journal, or while one of them was written.
#[test]
fn what_a_killed_build_left_half_done_is_done_again() {
    let folders = Folders::new();
    let options = folders.options(&["t2v-480p"]);
    built(&options, Fake { fails_at: Some(VaeDecoderFirst), ..Fake::new() }).unwrap_err();
    let engines = folders.engines();
    let plan = folders.manifest().engines["transformer"].plan.file.clone();
    fs::remove_file(engines.join("engines.json")).unwrap();
    fs::remove_file(engines.join(format!("{plan}.json"))).unwrap();
    fs::write(engines.join(format!("{plan}.json.part")), "{").unwrap();
    fs::write(engines.join(format!("{plan}.part")), "half").unwrap();
    assert_eq!(built(&options, Fake::new()).unwrap(), [Transformer, VaeDecoderFirst]);
    assert_eq!(folders.usable(), stems(&T2V));
    let left = fs::read_dir(&engines).unwrap().flatten();
    assert!(left.into_iter().all(|e| !e.file_name().to_string_lossy().ends_with(".part")));
}

#[test]
fn weights_that_no_machine_can_hold_are_refused_at_once() {
    const HUGE: u64 = 1 << 43;
    let folders = Folders::new();
    folders.edit(|m| m.submodules.get_mut("transformer").unwrap().weights.bytes = HUGE);
    let weights = fs::File::options().write(true).open(folders.export().join("transformer.data"));
    weights.unwrap().set_len(HUGE).unwrap();
    let error = built(&folders.options(&["t2v-480p"]), Fake::new()).unwrap_err().to_string();
    assert!(error.contains("building transformer takes 17592186044416 bytes"), "{error}");
    assert!(!folders.engines().exists());
    let other = Options { only: vec![TextEncoder], ..folders.options(&["t2v-480p"]) };
    assert_eq!(built(&other, Fake::new()).unwrap(), [TextEncoder]);
}
