//! FP8 attention against its model in plain Rust: the graph that stands in for the plugin on the
//! CPU, and the plugin on a GPU.
//!
//! `cargo test -p bernini-tests --features tensorrt --test fp8_attention --no-run` makes one
//! program, which runs by itself where there is no cargo:
//! `PROGRAM --ignored --nocapture --test-threads=1`, with TENSORRT_LIB_DIR (and that folder on
//! LD_LIBRARY_PATH), CUDNN_LIB_DIR and BERNINI_PLUGIN set.

// Figures for the report of a GPU run.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod case;
mod cpu;
mod gpu;
mod onnx;

use bernini_calibration::error::compare;
use bernini_calibration::fp8_attention::{HEAD, Scales};
use case::{Case, Kind};
use gpu::Gpu;

/// Kernel against model, relative L2. Rounding to E4M3 costs 2.6 % (root mean square). The kernel
/// rounds probabilities relative to the largest score so far, the model to that of the row, so
/// both round them independently: 3.7 %; which in turn makes the roundings of their outputs
/// independent: another 3.7 %.
const MODEL_LIMIT: f64 = 0.06;
/// The kernel may be this much farther from exact attention than the model is.
const EXACT_RATIO: f64 = 1.25;

fn check(case: &Case, scales: &Scales, found: &[f32]) {
    let expected = case.expected(scales);
    let model = compare(&expected.rounded, found).unwrap().rel_l2;
    let kernel = compare(&expected.exact, found).unwrap().rel_l2;
    let rounding = compare(&expected.exact, &expected.rounded).unwrap().rel_l2;
    let Case { heads, queries, keys, .. } = case;
    println!(
        "{heads} heads, {queries} queries, {keys} keys: {model:.4} from the model; from exact \
         attention: kernel {kernel:.4}, model {rounding:.4}"
    );
    assert!(model <= MODEL_LIMIT, "{model}");
    assert!(kernel <= EXACT_RATIO * rounding, "{kernel}, the model {rounding}");
}

/// One engine, all of these sizes; each is run twice, as its plan is made at the first run.
fn check_sizes(kind: Kind, heads: usize, sizes: &[(usize, usize)]) {
    let gpu = Gpu::open();
    let case = |&(queries, keys): &(usize, usize)| Case::new(kind, heads, queries, keys);
    let cases: Vec<_> = sizes.iter().map(case).collect();
    let scales = cases.iter().map(Case::scales).reduce(case::largest).unwrap();
    let plan = gpu.build(&cases[0].onnx(&scales), &cases[0].ranges()).unwrap();
    let mut loaded = gpu.load(&plan);
    for case in &cases {
        let (found, first_ms) = loaded.run(&case.inputs()).unwrap();
        let (again, second_ms) = loaded.run(&case.inputs()).unwrap();
        println!("first run {first_ms:.2} ms, second {second_ms:.2} ms");
        assert_eq!(found, again);
        check(case, &scales, &found);
    }
}

#[test]
#[ignore = "needs sm_90"]
fn self_attention_is_what_the_model_says_at_every_token_count() {
    check_sizes(Kind::SelfAttention, 4, &[(517, 517), (389, 389), (640, 640)]);
}

#[test]
#[ignore = "needs sm_90"]
fn cross_attention_is_what_the_model_says_at_every_context_length() {
    check_sizes(Kind::Cross, 4, &[(517, 613), (517, 512), (389, 700)]);
}

#[test]
#[ignore = "needs sm_90"]
fn the_released_number_of_heads_works() {
    check_sizes(Kind::SelfAttention, 40, &[(517, 517)]);
    check_sizes(Kind::Cross, 40, &[(517, 613)]);
}

/// Fewer rows than the kernel sums in parallel, and some three times as many.
#[test]
#[ignore = "needs sm_90"]
fn centred_keys_are_what_the_model_says_at_every_token_count() {
    check_sizes(Kind::CenteredKeys, 4, &[(517, 517), (389, 389), (64, 64), (1300, 1300)]);
    check_sizes(Kind::CenteredKeys, 40, &[(517, 517)]);
    check_sizes(Kind::CenteredKeys, 5, &[(129, 129)]);
}

/// 32,760 tokens of 40 heads, a 480p clip; tells what centring costs.
#[test]
#[ignore = "needs sm_90"]
fn centred_keys_work_at_full_size() {
    let gpu = Gpu::open();
    for kind in [Kind::SelfAttention, Kind::CenteredKeys] {
        let part = Case::new(kind, 40, 1260, 1260);
        let scales = part.scales();
        let whole = part.repeated(26);
        let plan = gpu.build(&whole.onnx(&scales), &whole.ranges()).unwrap();
        let mut loaded = gpu.load(&plan);
        let inputs = whole.inputs();
        let runs: Vec<_> = (0..10).map(|_| loaded.run(&inputs).unwrap()).collect();
        let fastest = runs.iter().map(|(_, ms)| *ms).fold(f32::INFINITY, f32::min);
        println!("keys centred: {}, {fastest:.2} ms", kind == Kind::CenteredKeys);
        assert!(runs.iter().all(|(found, _)| *found == runs[0].0));
        check(&part, &scales, &runs[0].0[..part.queries * part.heads * HEAD]);
    }
}

/// Five heads fill a warp and a quarter of the next.
#[test]
#[ignore = "needs sm_90"]
fn heads_need_not_fill_a_warp() {
    check_sizes(Kind::SelfAttention, 5, &[(129, 129)]);
}

#[test]
#[ignore = "needs sm_90"]
fn a_reloaded_plan_gives_the_same_bits() {
    let gpu = Gpu::open();
    let case = Case::new(Kind::SelfAttention, 4, 517, 517);
    let plan = gpu.build(&case.onnx(&case.scales()), &case.ranges()).unwrap();
    let [one, other] = [(), ()].map(|()| gpu.load(&plan).run(&case.inputs()).unwrap().0);
    assert_eq!(one, other);
}

#[test]
#[ignore = "needs sm_90"]
fn the_plugin_says_which_attribute_is_wrong() {
    let gpu = Gpu::open();
    let case = Case::new(Kind::Cross, 4, 64, 512);
    let mut scales = case.scales();
    scales.q = 0.0;
    let error = gpu.build(&case.onnx(&scales), &case.ranges()).unwrap_err().to_string();
    assert!(error.contains("q_scale is 0"), "{error}");
}
