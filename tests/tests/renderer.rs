//! The composed renderer against a plain composition of the reference modules: prompts and pixels
//! in, frames out, over six steps that cross the expert switch.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use bernini_graphs::manifest::Variant;
use bernini_runner::pipeline::{Pipeline, Trace};
use bernini_runner::report::Report;
use bernini_runner::request::Request;
use bernini_tests::{Golden, Model, assert_parity, relative_l2};
use ndarray::{ArrayView4, Axis, Ix5, IxDyn};

static MODEL: LazyLock<Model> = LazyLock::new(Model::renderer);
static GOLDEN: LazyLock<Golden> = LazyLock::new(|| Golden::load("renderer"));
/// Ten times the sensitivity of the reference itself to f32 rounding (tests/reference/README.md).
const STATES: f64 = 5e-5;

fn request(name: &str) -> Request {
    GOLDEN.request(&MODEL, name)
}

fn run(request: &Request) -> (Report, Trace) {
    let pipeline = Pipeline::open(MODEL.export.clone(), Box::new(MODEL.backend())).unwrap();
    pipeline.run_traced(request, &request.plan(Variant::Renderer).unwrap()).unwrap()
}

fn close(name: &str, found: ArrayView4<'_, f32>, expected: ArrayView4<'_, f32>, allowed: f64) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    let values = |array: ArrayView4<'_, f32>| array.iter().copied().collect::<Vec<_>>();
    let error = relative_l2(&values(found), &values(expected));
    assert!(error <= allowed, "{name}: relative L2 {error:.2e}, allowed {allowed:.0e}");
}

fn matches_reference(name: &str) -> Report {
    let golden = &GOLDEN;
    let request = request(name);
    let (report, trace) = run(&request);
    for (i, which) in ["positive", "negative"].iter().enumerate() {
        let expected = golden.output::<IxDyn>(&format!("{name}.{which}"));
        let found = trace.prompt_embeds[i].as_slice().unwrap();
        assert_parity(which, found, expected.as_slice().unwrap());
    }
    for (i, source) in trace.sources.iter().enumerate() {
        let expected = golden.output::<Ix5>(&format!("{name}.source_{i}"));
        close("source", source.view(), expected.index_axis(Axis(0), 0), 1e-5);
    }
    let velocities = golden.output::<Ix5>(&format!("{name}.velocities"));
    let states = golden.output::<Ix5>(&format!("{name}.states"));
    assert_eq!(trace.velocities.len(), velocities.dim().0);
    for i in 0..velocities.dim().0 {
        let (velocity, state) = (trace.velocities[i].view(), trace.latents[i].view());
        close(&format!("velocity {i}"), velocity, velocities.index_axis(Axis(0), i), 5.0 * STATES);
        close(&format!("state {i}"), state, states.index_axis(Axis(0), i), STATES);
    }
    golden.compare_frames(&request, name);
    report
}

#[test]
fn text_to_video_matches_the_reference() {
    let report = matches_reference("t2v");
    assert_eq!((report.steps_high_noise, report.steps_low_noise), (3, 3));
    assert_eq!(report.forwards, 12);
}

#[test]
fn video_with_two_images_matches_the_reference() {
    let report = matches_reference("rv2v");
    assert_eq!(report.forwards, 24);
}

#[test]
fn images_with_projected_guidance_match_the_reference() {
    matches_reference("r2v_apg");
}

#[test]
fn kept_keys_and_values_equal_recomputed_ones() {
    let kept = Request { output: MODEL.scratch("kept/"), ..request("t2v") };
    let recomputed =
        Request { reference_schedule: true, output: MODEL.scratch("recomputed/"), ..kept.clone() };
    let ((few, a), (many, b)) = (run(&kept), run(&recomputed));
    assert_eq!(a.latents, b.latents, "bit for bit");
    let contexts =
        |report: &Report| report.stages.iter().find(|stage| stage.name == "context").unwrap().count;
    assert_eq!((contexts(&few), contexts(&many)), (4, 12));
}
