//! Renderer-only guidance against the reference of tests/reference/plain/guidance.py: every mode,
//! limits, eta and momentum over two steps.

#![allow(clippy::unwrap_used)]

use bernini_graphs::manifest::Variant;
use bernini_runner::guidance::{
    ApgParams, Available, Branch, Context, Guidance, GuidanceMode, Omegas, SourceSet,
};
use ndarray::{Array4, ArrayView4, Axis};
use safetensors::SafeTensors;
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/");
const SHAPE: (usize, usize, usize, usize) = (16, 2, 4, 6);
const SIGMAS: [f32; 2] = [0.961_316_4, 0.499_699_9];
/// Two videos, so that the first one differs from all of them.
const AVAILABLE: Available = Available { videos: 2, images: 1 };

/// The value rule of tests/reference/values.py with mean 0, as latents [16,2,4,6].
fn values(name: &str, std: f64) -> Array4<f32> {
    let fnv = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut state = format!("input:{name}").bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    Array4::from_shape_simple_fn(SHAPE, || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let total: u64 = [0, 16, 32, 48].iter().map(|shift| (bits >> shift) & 0xffff).sum();
        (std * ((total as f64 - 131_070.0) / 37_837.0)) as f32
    })
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

fn step(guidance: &mut Guidance, step: usize) -> Array4<f32> {
    let shared = values(&format!("shared_{step}"), 1.0);
    let velocity = |branch| &shared + &values(&format!("e_{}_{step}", name(branch)), 0.4);
    let predictions: Vec<Array4<f32>> = guidance.branches().iter().map(velocity).collect();
    let views: Vec<ArrayView4<f32>> = predictions.iter().map(|p| p.view()).collect();
    let latents = values(&format!("x_{step}"), 1.0);
    guidance.combine(&views, &latents.view(), SIGMAS[step]).unwrap()
}

fn relative_l2(found: &Array4<f32>, expected: &ArrayView4<f32>) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let error: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    (error / expected.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
}

#[test]
fn every_mode_agrees_with_the_reference() {
    let text = std::fs::read_to_string(format!("{FOLDER}guidance.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let bytes = std::fs::read(format!("{FOLDER}guidance.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let runs = golden["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 16);
    for run in runs {
        let output = run["name"].as_str().unwrap();
        let (words, _) = tensors.tensor(output).unwrap().data().as_chunks::<4>();
        let expected = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        let expected = ndarray::Array5::from_shape_vec((2, 16, 2, 4, 6), expected).unwrap();
        let mut guidance = guidance(run);
        for i in 0..2 {
            let error = relative_l2(&step(&mut guidance, i), &expected.index_axis(Axis(0), i));
            assert!(error < 5e-7, "{output}, step {i}: relative L2 {error:.2e}");
        }
    }
}
