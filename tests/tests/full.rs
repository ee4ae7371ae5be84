//! The whole pipeline of the full model against a plain composition of the reference modules
//! (official schedule: everything recomputed, every branch run), for every task.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use bernini_graphs::manifest::Variant;
use bernini_graphs::submodule::flow_head::{MAX_ROWS, MAX_STEPS};
use bernini_runner::backend::{Backend, HostMemory};
use bernini_runner::pipeline::{Pipeline, Trace};
use bernini_runner::report::Report;
use bernini_runner::request::Request;
use bernini_tests::{Golden, Model, relative_l2};
use ndarray::{Array2, Axis, Ix5};

static MODEL: LazyLock<Model> = LazyLock::new(Model::full);
/// Embeddings that the planner draws: a chain of passes, each within 1e-5 of the reference.
const PLANNED: f64 = 2e-5;
/// Ten times the sensitivity of the reference itself to f32 rounding (tests/reference/README.md).
const STATES: f64 = 5e-5;

fn run(request: &Request) -> (Report, Trace) {
    run_on(Box::new(MODEL.backend()), request)
}

fn run_on(backend: Box<dyn Backend>, request: &Request) -> (Report, Trace) {
    let pipeline = Pipeline::open(MODEL.export.clone(), backend).unwrap();
    pipeline.run_traced(request, &request.plan(Variant::Full).unwrap()).unwrap()
}

fn request(golden: &Golden, name: &str) -> Request {
    golden.request(&MODEL, name)
}

fn close(name: &str, found: &Array2<f32>, expected: &Array2<f32>) {
    assert_eq!(found.dim(), expected.dim(), "{name}");
    let error = relative_l2(found.as_slice().unwrap(), expected.as_slice().unwrap());
    assert!(error <= PLANNED, "{name}: relative L2 {error:.2e}, allowed {PLANNED:.0e}");
}

/// Contexts, states and frames of one run of `full`.
fn matches_reference(name: &str) -> Report {
    let golden = Golden::load("full");
    let request = request(&golden, name);
    let (report, trace) = run(&request);
    let planned = trace.planned.unwrap();
    close("planned", &planned.target, &golden.output(&format!("{name}.planned")));
    close("wtxt_wvit", &planned.wtxt_wvit, &golden.output(&format!("{name}.wtxt_wvit")));
    close("wotxt_wovit", &planned.wotxt_wovit, &golden.output(&format!("{name}.wotxt_wovit")));
    let states = golden.output::<Ix5>(&format!("{name}.states"));
    let kept = golden.json["runs"][name]["states"].as_array().unwrap();
    assert_eq!(kept.len(), states.dim().0);
    for (step, expected) in kept.iter().zip(states.outer_iter()) {
        let found = &trace.latents[step.as_u64().unwrap() as usize];
        let expected: Vec<_> = expected.iter().copied().collect();
        let error = relative_l2(found.as_slice().unwrap(), &expected);
        assert!(error <= STATES, "{name}, state {step}: relative L2 {error:.2e}");
    }
    golden.compare_frames(&request, name);
    report
}

#[test]
fn t2v_matches_the_reference_with_3_of_4_forwards() {
    assert_eq!(matches_reference("t2v").forwards, 6 * 3);
}

#[test]
fn rv2v_matches_the_reference_with_5_of_6_forwards() {
    assert_eq!(matches_reference("rv2v").forwards, 6 * 5);
}

#[test]
fn i2i_matches_the_reference() {
    assert_eq!(matches_reference("i2i").forwards, 6 * 4);
}

#[test]
fn t2i_matches_the_reference() {
    assert_eq!(matches_reference("t2i").forwards, 6 * 3);
}

#[test]
fn every_other_task_matches_the_reference() {
    let golden = Golden::load("full_more");
    for name in golden.json["runs"].as_object().unwrap().keys() {
        let request = request(&golden, name);
        let (_, trace) = run(&request);
        let planned = trace.planned.unwrap();
        close(name, &planned.target, &golden.output(&format!("{name}.planned")));
        golden.compare_frames(&request, name);
    }
}

/// The planner's golden, whose run `plain_at_once` is a request of the pipeline.
fn plain_at_once() -> Golden {
    let mut golden = Golden::load("planner");
    golden.json["runs"]["plain_at_once"]["mode"] = "vae_txt_vit_wapg".into();
    golden
}

/// 36 tokens at once and nine steps: the flow head runs in two pieces of either.
#[test]
fn more_than_one_run_of_the_flow_head_takes_matches_the_reference() {
    let (golden, name) = (plain_at_once(), "plain_at_once");
    let (_, trace) = run(&request(&golden, name));
    let planned = trace.planned.unwrap();
    assert!(planned.target.nrows() > MAX_ROWS);
    assert!(golden.json["runs"][name]["vit_denoising_step"].as_u64().unwrap() as usize > MAX_STEPS);
    close(name, &planned.target, &golden.output(&format!("{name}.planned")));
    close(name, &planned.wtxt_wvit, &golden.output(&format!("{name}.wtxt_wvit")));
}

/// Selecting, gathering and overwriting where tensors of a GPU lie gives what the host does, bit for
/// bit; memory that is used again holds what it should.
#[test]
fn tensors_that_stay_on_a_gpu_give_the_same() {
    let (full, planner) = (Golden::load("full"), plain_at_once());
    for (golden, name) in [(&full, "t2v"), (&full, "rv2v"), (&planner, "plain_at_once")] {
        let into = |kind: &str| Request {
            output: MODEL.scratch(format!("{name}_{kind}/")),
            ..request(golden, name)
        };
        let (_, expected) = run(&into("host"));
        let on_gpu = || Box::new(HostMemory::new(MODEL.backend()).unwrap());
        let (_, found) = run_on(on_gpu(), &into("gpu"));
        assert_eq!(found.planned, expected.planned, "{name}");
        assert_eq!(found.latents, expected.latents, "{name}");
        let official = Request { reference_schedule: true, ..into("gpu_official") };
        let (_, found) = run_on(on_gpu(), &official);
        let [found, expected] = [found, expected].map(|trace| trace.planned.unwrap());
        close(name, &found.wtxt_wvit, &expected.wtxt_wvit);
    }
}

#[test]
fn the_short_schedule_equals_the_official_one() {
    let golden = Golden::load("full");
    let passes =
        |report: &Report| report.stages.iter().find(|stage| stage.name == "planner").unwrap().count;
    for (name, short_forwards, long_forwards) in [("t2v", 18, 24), ("rv2v", 30, 36)] {
        let short =
            Request { output: MODEL.scratch(format!("{name}_short/")), ..request(&golden, name) };
        let long = Request {
            reference_schedule: true,
            output: MODEL.scratch(format!("{name}_long/")),
            ..short.clone()
        };
        let ((few, a), (many, b)) = (run(&short), run(&long));
        assert_eq!((few.forwards, many.forwards), (short_forwards, long_forwards), "{name}");
        assert_eq!((few.forwards_official, many.forwards_official), (long_forwards, long_forwards));
        assert!(passes(&few) < passes(&many), "{name}");
        assert!(few.planner_passes < few.planner_passes_official, "{name}");
        let last = |trace: &Trace| trace.latents.last().unwrap().clone();
        let (a, b) = (last(&a), last(&b));
        let error = relative_l2(a.as_slice().unwrap(), b.as_slice().unwrap());
        assert!(error <= STATES, "{name}: relative L2 {error:.2e}");
    }
}

#[test]
fn the_package_says_where_the_experts_switch() {
    assert_eq!(MODEL.export.boundary_ratio(), 0.875);
    let config = MODEL.path().join("config/bernini.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let changed = Model::full();
    let other = changed.path().join("config/bernini.json");
    std::fs::write(&other, text.replace("0.875", "0.625")).unwrap();
    let reopened = bernini_runner::export::Export::open(&changed.path()).unwrap();
    assert_eq!(reopened.boundary_ratio(), 0.625);
}

#[test]
fn sources_are_in_the_order_of_the_conversation() {
    let golden = Golden::load("full");
    let (_, trace) = run(&Request {
        output: MODEL.scratch("order/"),
        num_inference_steps: 1,
        planning_step: 1,
        ..request(&golden, "rv2v")
    });
    assert_eq!(trace.sources.len(), 3);
    for (i, source) in trace.sources.iter().enumerate() {
        let expected = golden.output::<Ix5>(&format!("rv2v.source_{i}"));
        let expected: Vec<_> = expected.index_axis(Axis(0), 0).iter().copied().collect();
        let found: Vec<_> = source.iter().copied().collect();
        assert!(relative_l2(&found, &expected) <= 1e-5, "source {i}");
    }
}
