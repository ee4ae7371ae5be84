//! The f32 graph that stands in for the plugin on the CPU, as `DitAttention` lowers it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use bernini_calibration::error::compare;
use bernini_calibration::fp8_attention::{HEAD, Scales};
use bernini_graphs::nn::{DitAttention, Rope};
use bernini_graphs::{
    DType, Dim, ExternalData, Fp8AttentionScales, Fp8Policy, Fp8Scales, GraphBuilder, Precision,
};
use bernini_runner::backend::onnxruntime_library;
use ort::environment::Environment;
use ort::session::Session;
use ort::value::TensorRef;

use crate::case::{Case, EPS, Kind};

/// Stand-in against model, relative L2: the same roundings of sums in another order. Where a sum
/// lies within 1e-6 of the middle of two E4M3 values it may go either way, and then differs by up
/// to 6 %; a handful of 10,000 values may. Rounding in another place costs 4 %.
const LIMIT: f64 = 2e-3;

/// A process may have one environment.
static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    let library = onnxruntime_library().expect("./x setup has fetched ONNX Runtime");
    ort::init_from(library).unwrap().with_name("attention").build().unwrap()
});

/// Attention in FP8, linear layers not.
struct AttentionAlone(Fp8AttentionScales);

impl Fp8Policy for AttentionAlone {
    fn scales(&self, _: &str) -> Option<Fp8Scales> {
        None
    }

    fn attention(&self, _: &str) -> Option<Fp8AttentionScales> {
        Some(self.0)
    }
}

/// Shape and values by name.
type Tensors = BTreeMap<&'static str, (Vec<usize>, Vec<f32>)>;

/// `[channels, parts × channels]`: takes the part with this index, and leaves it as it is.
fn pick(channels: usize, parts: usize, part: usize) -> (Vec<usize>, Vec<f32>) {
    let mut values = vec![0.0; channels * parts * channels];
    for c in 0..channels {
        values[(c * parts + part) * channels + c] = 1.0;
    }
    (vec![channels, parts * channels], values)
}

/// What the attention reads of the checkpoint: projections that change nothing, and the norms.
fn weights(case: &Case) -> Tensors {
    let channels = case.heads * HEAD;
    let [norm_q, norm_k] = case.norms().map(|norm| (vec![channels], norm.to_vec()));
    let zeros = || (vec![channels], vec![0.0; channels]);
    let parts = if case.kind.is_self() { 3 } else { 1 };
    let mut weights = Tensors::from([
        ("to_q.weight", pick(channels, parts, 0)),
        ("to_q.bias", zeros()),
        ("norm_q.weight", norm_q),
    ]);
    if parts == 3 {
        weights.extend([
            ("to_k.weight", pick(channels, parts, 1)),
            ("to_v.weight", pick(channels, parts, 2)),
            ("to_k.bias", zeros()),
            ("to_v.bias", zeros()),
            ("norm_k.weight", norm_k),
        ]);
    }
    weights
}

/// What the graph takes: q, k and v of self attention side by side, as parts of one `x`.
fn inputs(case: &Case) -> Tensors {
    let mut given: Tensors =
        case.values().into_iter().map(|(name, shape, values)| (name, (shape, values))).collect();
    let (mut shape, q) = given.remove("q").unwrap();
    if case.kind == Kind::Cross {
        given.insert("x", (shape, q));
        for name in ["k", "v"] {
            // A stack of one layer.
            given.get_mut(name).unwrap().0.insert(0, 1);
        }
        return given;
    }
    let [k, v] = ["k", "v"].map(|name| given.remove(name).unwrap().1);
    let channels = shape[2];
    let rows = q.chunks(channels).zip(k.chunks(channels)).zip(v.chunks(channels));
    let x = rows.flat_map(|((q, k), v)| [q, k, v].concat()).collect();
    shape[2] = 3 * channels;
    given.insert("x", (shape, x));
    given
}

/// The graph's output, with `scales` or in f32.
fn run(case: &Case, scales: Option<&Scales>) -> Vec<f32> {
    let center_keys = case.kind == Kind::CenteredKeys;
    let policy = scales.map(|&Scales { q, k, v, out }| {
        AttentionAlone(Fp8AttentionScales { q, k, v, out, center_keys })
    });
    let precision = policy.as_ref().map_or(Precision::F32, |policy| Precision::Fp8F32(policy));
    let (weights, inputs) = (weights(case), inputs(case));
    let shapes: BTreeMap<String, Vec<usize>> =
        weights.iter().map(|(name, (shape, _))| (name.to_string(), shape.clone())).collect();
    let g = GraphBuilder::new("attention", &shapes, precision);
    let input = |name: &str, symbol_axis: usize| {
        let mut dims: Vec<Dim> = inputs[name].0.iter().map(|&n| n.into()).collect();
        let symbol = if ["k", "v"].contains(&name) { "context" } else { "tokens" };
        dims[symbol_axis] = Dim::symbol(symbol);
        g.input(name, DType::F32, &dims)
    };
    let attention = DitAttention { heads: case.heads, head_dim: HEAD, eps: EPS };
    let x = input("x", 1);
    let y = match case.kind {
        Kind::SelfAttention | Kind::CenteredKeys => {
            let angles = ["cos", "sin"].map(|name| input(name, 0));
            attention.self_attention(&g.root(), x, Rope { f32: angles, compute: angles })
        }
        Kind::Cross => {
            let cached = ["k", "v"].map(|name| input(name, 3));
            attention.cross_attention(&g.root(), x, cached, 0)
        }
    };
    g.output("out", y, DType::F32);
    let graph = g.finish().unwrap();

    let (mut bytes, mut offsets) = (vec![], BTreeMap::new());
    for (name, (_, values)) in &weights {
        offsets.insert(name.to_string(), bytes.len() as u64);
        bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("weights"), bytes).unwrap();
    let path = folder.path().join("attention.onnx");
    fs::write(&path, graph.encode(&ExternalData { location: "weights".into(), offsets })).unwrap();
    let mut session = Session::builder(&ENVIRONMENT).unwrap().commit_from_file(path).unwrap();
    let feed: Vec<_> = inputs
        .iter()
        .map(|(name, (shape, values))| {
            (*name, TensorRef::from_array_view((shape.clone(), values.as_slice())).unwrap())
        })
        .collect();
    let outputs = session.run(feed).unwrap();
    outputs["out"].try_extract_tensor::<f32>().unwrap().1.to_vec()
}

/// Stand-in and model agree far better than one rounding costs, and both round.
fn check(kind: Kind, heads: usize, queries: usize, keys: usize) {
    let case = Case::new(kind, heads, queries, keys);
    let scales = case.scales();
    let expected = case.expected(&scales);
    let error = |a: &[f32], b: &[f32]| compare(a, b).unwrap().rel_l2;
    let exact = error(&expected.exact, &run(&case, None));
    assert!(exact < 1e-5, "in f32: {exact:.2e}");
    let found = run(&case, Some(&scales));
    let [model, rounding] = [&expected.rounded, &expected.exact].map(|x| error(x, &found));
    println!("{model:.2e} from the model, {rounding:.2e} from exact attention");
    assert!(model <= LIMIT, "{model:.2e} from the model");
    assert!(rounding > 0.02, "{rounding:.2e} from exact attention: nothing was rounded");
}

#[test]
fn self_attention_in_f32_stands_in_for_the_plugin() {
    check(Kind::SelfAttention, 2, 67, 67);
}

/// The graph in f32 subtracts nothing, and is what the model with centred keys computes.
#[test]
fn centred_keys_change_nothing_but_the_rounding() {
    check(Kind::CenteredKeys, 2, 67, 67);
}

#[test]
fn cross_attention_in_f32_stands_in_for_the_plugin() {
    check(Kind::Cross, 3, 33, 129);
}
