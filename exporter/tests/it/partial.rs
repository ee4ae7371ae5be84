//! Checkpoints and exports of chosen parts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bernini_exporter::synth::{self, Preset, SynthError};
use bernini_exporter::{
    CheckpointReport, ExportError, ExportOptions, InspectReport, export, inspect,
};
use bernini_graphs::manifest::{EXPORT_MANIFEST, ExportManifest, PrecisionName, Variant};
use bernini_graphs::{Component, Submodule};

use crate::common::{Fixture, contents, never};

fn report(checkpoint: &Path) -> CheckpointReport {
    match inspect(checkpoint, false).unwrap() {
        InspectReport::Checkpoint(report) => report,
        InspectReport::Export(_) => panic!("not a checkpoint"),
    }
}

fn manifest(export: &Path) -> ExportManifest {
    serde_json::from_slice(&fs::read(export.join(EXPORT_MANIFEST)).unwrap()).unwrap()
}

/// Tensor data of every component.
fn values(checkpoint: &Path) -> BTreeMap<(Component, String), Vec<u8>> {
    let checkpoint = bernini_exporter::Checkpoint::open(checkpoint).unwrap();
    let all = checkpoint.components().iter();
    let tensors = all.flat_map(|(c, held)| held.tensors.iter().map(|(n, t)| (*c, n.clone(), t)));
    tensors.map(|(c, n, t)| ((c, n), t.read(0, t.elements() as usize).unwrap())).collect()
}

#[test]
fn chosen_components_have_the_tensors_that_they_have_in_the_whole() {
    let whole = Fixture::new(Variant::Full);
    let expected = values(&whole.checkpoint());
    let dir = tempfile::tempdir().unwrap();
    for (layout, chosen) in [
        (Variant::Full, vec![Component::Transformer2, Component::MaskTokens]),
        (Variant::Full, vec![Component::Vae]),
        (Variant::Renderer, vec![Component::TextEncoder, Component::Vae]),
    ] {
        let out = dir.path().join(format!("{layout:?} {}", chosen.len()));
        synth::write_components(Preset::Tiny, layout, &chosen, 3, &out).unwrap();
        let found = values(&out);
        let wanted = expected.iter().filter(|((component, _), _)| chosen.contains(component));
        assert!(found.iter().eq(wanted), "{layout:?} {chosen:?}");
        let small = |root: &Path| -> Vec<PathBuf> {
            contents(root).into_keys().filter(|name| !is_weights(name)).collect()
        };
        if layout == Variant::Full {
            assert_eq!(small(&out), small(&whole.checkpoint()));
        }
    }
    let planner = [Component::Vision];
    let refused = synth::write_components(
        Preset::Tiny,
        Variant::Renderer,
        &planner,
        3,
        &dir.path().join("x"),
    );
    assert!(matches!(refused, Err(SynthError::NotInLayout { component: Component::Vision })));
}

fn is_weights(name: &Path) -> bool {
    name.extension().is_some_and(|end| end == "safetensors")
}

#[test]
fn components_of_the_full_size_are_bf16() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("full");
    let chosen = [Component::MaskTokens];
    let bytes = synth::write_components(Preset::Full, Variant::Full, &chosen, 0, &out).unwrap();
    assert_eq!(bytes, 2 * 14_680_064);
    let report = report(&out);
    let tokens = report.components.iter().find(|c| c.name == "mask_tokens").unwrap();
    assert_eq!((tokens.bytes, tokens.dtypes.get("BF16")), (bytes, Some(&1)));
}

#[test]
fn threads_do_not_change_the_values() {
    let dir = tempfile::tempdir().unwrap();
    let write = |threads: usize| {
        let out = dir.path().join(threads.to_string());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| synth::write(Preset::Tiny, Variant::Full, 5, &out)).unwrap();
        contents(&out)
    };
    assert!(write(1) == write(3));
}

#[test]
fn absent_components_are_named_once() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("partial");
    let chosen = [Component::Transformer, Component::TextEncoder];
    synth::write_components(Preset::Tiny, Variant::Renderer, &chosen, 3, &out).unwrap();
    let report = report(&out);
    assert!(!report.ok);
    let found: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    let absent =
        |name: &str| format!("{name}: absent, with all its tensors; `export --only` leaves it out");
    assert_eq!(found, [absent("transformer_2"), absent("vae")]);
}

#[test]
fn parts_of_a_partial_checkpoint_are_those_of_the_whole_one() {
    let whole = Fixture::new(Variant::Full);
    whole.export(PrecisionName::Bf16).unwrap();
    let (expected, all) = (contents(&whole.out()), manifest(&whole.out()));

    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("partial"), dir.path().join("export"));
    let chosen = [Component::Transformer, Component::TextEncoder];
    synth::write_components(Preset::Tiny, Variant::Full, &chosen, 3, &source).unwrap();
    let mut options = ExportOptions::new(&source, &out, PrecisionName::Bf16);
    let refused = export(&options, &(), &never()).unwrap_err();
    assert!(
        matches!(refused, ExportError::Contract { .. }) && refused.to_string().contains("--only")
    );
    options.only = Some(vec![Submodule::Transformer, Submodule::Vision]);
    let refused = export(&options, &(), &never()).unwrap_err();
    assert!(refused.to_string().contains("vision: absent"), "{refused}");

    for (only, tables) in [
        (vec![Submodule::Transformer, Submodule::TransformerContext], vec![]),
        (vec![Submodule::TextEncoder], vec!["text_embeddings"]),
    ] {
        options.out = dir.path().join(only[0].stem());
        options.only = Some(only.clone());
        export(&options, &(), &never()).unwrap();
        let found = manifest(&options.out);
        assert!(found.submodules.keys().eq(sorted(&only).iter()), "{:?}", found.submodules.keys());
        assert!(found.tables.keys().eq(tables.iter()), "{:?}", found.tables.keys());
        assert_eq!(found.config, all.config);
        for (stem, entry) in &found.submodules {
            assert_eq!(entry, &all.submodules[stem]);
        }
        let mut files = contents(&options.out);
        files.remove(Path::new(EXPORT_MANIFEST));
        assert!(files.iter().all(|(name, bytes)| expected.get(name) == Some(bytes)));
        assert!(export(&options, &(), &never()).unwrap().up_to_date);
    }
}

fn sorted(submodules: &[Submodule]) -> Vec<String> {
    let mut stems: Vec<_> = submodules.iter().map(|s| s.stem().to_string()).collect();
    stems.sort();
    stems
}

#[test]
fn a_renderer_has_no_planner_to_export() {
    let fixture = Fixture::new(Variant::Renderer);
    let mut options = fixture.options(PrecisionName::F32);
    options.only = Some(vec![Submodule::PlannerLm]);
    let refused = export(&options, &(), &never()).unwrap_err();
    assert!(matches!(refused, ExportError::NoPlanner { submodule: Submodule::PlannerLm, .. }));
    assert!(!options.out.exists());
}
