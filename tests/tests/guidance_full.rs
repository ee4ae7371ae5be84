//! Guidance of the full model against tests/reference/plain/guidance_full.py: every mode, with
//! weights that collapse terms, and without sources; shared and official schedule.

#![allow(clippy::unwrap_used)]

use bernini_graphs::manifest::Variant;
use bernini_runner::guidance::{
    ApgParams, Available, Branch, Context, Guidance, GuidanceMode, Omegas, SourceSet,
};
use bernini_tests::{Golden, relative_l2};
use ndarray::{Array4, ArrayD, ArrayView4, Axis};
use serde_json::Value;

/// Two videos and an image, so that V differs from VI and from the first video.
const SOURCES: Available = Available { videos: 2, images: 1 };
const NONE: Available = Available { videos: 0, images: 0 };

/// The reference's name of a forward.
fn name(branch: &Branch) -> String {
    let sources = match branch.sources {
        SourceSet::None => "0",
        SourceSet::Videos => "V",
        SourceSet::All => "VI",
        other => panic!("no mode of the full model uses {other:?} here"),
    };
    // Without sources the reference keeps the name VI for the forwards with text.
    match branch.context {
        Context::Negative => format!("{sources}.wotxt_wovit"),
        Context::Positive => "VI.wtxt_wovit".into(),
        Context::Planned => "VI.wtxt_wvit".into(),
    }
}

fn guidance(run: &Value) -> Guidance {
    let mode = GuidanceMode::parse(run["mode"].as_str().unwrap(), Variant::Full).unwrap();
    let [vid, img, txt, tgt] =
        ["vid", "img", "txt", "tgt"].map(|name| run["omega"][name].as_f64().unwrap());
    let available = if run["bare"] == true { NONE } else { SOURCES };
    let apg = ApgParams { eta: 0.1, norm_threshold: [1.0; 3], momentum: 0.7 };
    Guidance::new(mode, available, Omegas { vid, img, txt, tgt, scale: 0.8 }, apg).unwrap()
}

fn latents(values: ArrayD<f32>) -> Array4<f32> {
    values.into_dimensionality().unwrap()
}

fn combine(golden: &Golden, run: &Value, guidance: &mut Guidance) -> Vec<f32> {
    let scale = run["velocity_scale"].as_f64().unwrap_or(1.0) as f32;
    let velocity = |branch: &Branch| {
        let own = golden.input(&format!("e_{}", name(branch)));
        latents(golden.input("shared") + own) * scale
    };
    let predictions: Vec<Array4<f32>> = guidance.branches().iter().map(velocity).collect();
    let views: Vec<ArrayView4<f32>> = predictions.iter().map(|p| p.view()).collect();
    let sigma = golden.json["sigma"].as_f64().unwrap() as f32;
    let x = latents(golden.input("x"));
    let guided = guidance.combine(&views, &x.view(), sigma).unwrap();
    // The golden keeps every third row.
    guided.select(Axis(2), &[0, 3]).into_iter().collect()
}

#[test]
fn every_mode_of_the_full_model_agrees_with_the_reference() {
    let golden = Golden::load("guidance_full");
    let runs = golden.json["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 22);
    for run in runs {
        let output = run["name"].as_str().unwrap();
        let expected = golden.output::<ndarray::Ix4>(output);
        for reference in [false, true] {
            let mut guidance = guidance(run).with_reference_schedule(reference);
            let found = combine(&golden, run, &mut guidance);
            let error = relative_l2(&found, expected.as_slice().unwrap());
            assert!(error < 5e-7, "{output}, reference {reference}: relative L2 {error:.2e}");
        }
    }
}
