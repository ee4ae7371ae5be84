//! Renderer-only guidance against the reference of tests/reference/plain/guidance.py: every mode,
//! limits, eta and momentum over two steps.

#![allow(clippy::unwrap_used)]

use bernini_graphs::manifest::Variant;
use bernini_runner::guidance::{
    ApgParams, Available, Branch, Context, Guidance, GuidanceMode, Omegas, SourceSet,
};
use bernini_tests::{Golden, relative_l2};
use ndarray::{Array4, ArrayView4, Ix5};
use serde_json::Value;

const SIGMAS: [f32; 2] = [0.961_316_4, 0.499_699_9];
/// Two videos, so that the first one differs from all of them.
const AVAILABLE: Available = Available { videos: 2, images: 1 };

/// An input of the golden, as latents [16,2,4,6].
fn values(golden: &Golden, name: &str) -> Array4<f32> {
    golden.input(name).into_dimensionality().unwrap()
}

/// The reference's name of a forward: T = prompt, V = first video, I = images.
fn name(branch: &Branch) -> &'static str {
    match (branch.context, branch.sources) {
        (Context::Negative, SourceSet::None) => "0",
        (Context::Negative, SourceSet::FirstVideo) => "V",
        (Context::Negative, SourceSet::Images) => "I",
        (Context::Negative, SourceSet::All) => "VI",
        (Context::Positive, SourceSet::None) => "T",
        (Context::Positive, SourceSet::Images) => "TI",
        (Context::Positive, SourceSet::All) => "VTI",
        other => panic!("no renderer-only mode uses {other:?}"),
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn guidance(run: &Value) -> Guidance {
    let mode = GuidanceMode::parse(run["mode"].as_str().unwrap(), Variant::Renderer).unwrap();
    let omegas = Omegas { vid: 1.25, img: 4.5, txt: 4.0, tgt: 0.5, scale: 0.8 };
    let norm_threshold = [0, 1, 2].map(|term| number(&run["thresholds"][term]));
    let (eta, momentum) = (number(&run["eta"]), number(&run["momentum"]));
    Guidance::new(mode, AVAILABLE, omegas, ApgParams { eta, norm_threshold, momentum }).unwrap()
}

fn step(golden: &Golden, guidance: &mut Guidance, step: usize) -> Vec<f32> {
    let shared = values(golden, &format!("shared_{step}"));
    let velocity = |branch| &shared + &values(golden, &format!("e_{}_{step}", name(branch)));
    let predictions: Vec<Array4<f32>> = guidance.branches().iter().map(velocity).collect();
    let views: Vec<ArrayView4<f32>> = predictions.iter().map(|p| p.view()).collect();
    let latents = values(golden, &format!("x_{step}"));
    let guided = guidance.combine(&views, &latents.view(), SIGMAS[step]).unwrap();
    guided.into_iter().collect()
}

#[test]
fn every_mode_agrees_with_the_reference() {
    let golden = Golden::load("guidance");
    let runs = golden.json["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 16);
    for run in runs {
        let output = run["name"].as_str().unwrap();
        let expected = golden.output::<Ix5>(output);
        assert_eq!(expected.dim(), (2, 16, 2, 4, 6));
        let mut guidance = guidance(run);
        for (i, expected) in expected.outer_iter().enumerate() {
            let found = step(&golden, &mut guidance, i);
            let error = relative_l2(&found, expected.as_slice().unwrap());
            assert!(error < 5e-7, "{output}, step {i}: relative L2 {error:.2e}");
        }
    }
}
