//! Promises of the builder: shapes, errors that are collected, rearrange, taps, listings.
#![allow(clippy::unwrap_used)] // A test may panic.

use std::collections::BTreeMap;

use bernini_graphs::{
    BuildError, BuildErrors, Conv3d, DType, Dim, Graph, GraphBuilder, Layout, Precision, Taps,
    Value, concat,
};

type Shapes = BTreeMap<String, Vec<usize>>;

fn symbol(name: &'static str) -> Dim {
    Dim::symbol(name)
}

/// Traces `model` on an f32 input `x` of `shape`; the result becomes the output `y`.
fn trace(
    shape: &[Dim],
    model: impl for<'g> Fn(Value<'g>) -> Value<'g>,
) -> Result<Graph, BuildErrors> {
    let nothing = Shapes::new();
    let g = GraphBuilder::new("test", &nothing, Precision::F32);
    g.output("y", model(g.input("x", DType::F32, shape)), DType::F32);
    g.finish()
}

fn output_shape(graph: &Graph) -> String {
    let dims: Vec<_> = graph.outputs[0].shape.iter().map(Dim::to_string).collect();
    dims.join(" ")
}

fn reason(result: Result<Graph, BuildErrors>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn every_independent_mistake_is_reported_with_its_place() {
    let checkpoint = Shapes::from([
        ("a.weight".into(), vec![3, 5]),
        ("b.weight".into(), vec![4, 5]),
        ("b.bias".into(), vec![4]),
    ]);
    let g = GraphBuilder::new("test", &checkpoint, Precision::F32);
    let x = g.input("x", DType::F32, &[symbol("n"), 5.into()]);
    let s = g.root();
    let a = s.linear("a", x, 3);
    let b = s.linear("b", x, 3);
    let c = s.at("inner").linear("c", x, 3);
    g.output("y", a + b + c + x, DType::F32);
    let errors = g.finish().unwrap_err();
    assert_eq!(errors.errors.len(), 6, "{errors}");
    let text = errors.to_string();
    assert!(text.contains("missing tensor a.bias: expected shape [3]"), "{text}");
    assert!(
        text.contains("wrong shape of tensor b.weight: expected [3, 5], found [4, 5]"),
        "{text}"
    );
    assert!(text.contains("missing tensor inner.c.weight"), "{text}");
    assert!(
        text.contains("Add at graphs/tests/builder.rs") || text.contains("Add at tests/builder.rs"),
        "{text}"
    );
    assert!(text.contains("f32[n, 3] and f32[n, 5]"), "{text}");
    assert_eq!(errors.requested.len(), 6);
}

#[test]
fn a_poisoned_value_silences_its_followers() {
    let result = trace(&[2.into(), 3.into()], |x| x.matmul(x).softmax().sqrt() + x);
    assert_eq!(result.unwrap_err().errors.len(), 1);
}

#[test]
fn mixed_types_are_refused() {
    let result = trace(&[2.into()], |x| x + x.cast(DType::Bf16));
    assert!(reason(result).contains("f32[2] and bf16[2]"));
    let result = trace(&[2.into()], |x| x.cast(DType::I64).sqrt());
    assert!(reason(result).contains("floating point"));
}

#[test]
fn rearrange_splits_moves_and_merges() {
    let n = symbol("n");
    let shape = [1.into(), n.clone(), 12.into()];
    let heads = trace(&shape, |x| x.rearrange("b n (h d) -> b h n d", &[("h", 3.into())])).unwrap();
    assert_eq!(output_shape(&heads), "1 3 n 4");
    let ops: Vec<_> = heads.nodes.iter().map(|node| node.op).collect();
    assert_eq!(ops, ["Reshape", "Transpose", "Identity"], "and no reshape that changes nothing");
    let merged = trace(&shape, |x| {
        let y = x.rearrange("b n (h d) -> b h n d", &[("h", 3.into())]);
        y.rearrange("b h n d -> (b n) 1 (h d)", &[])
    });
    assert_eq!(output_shape(&merged.unwrap()), "n 1 12");
}

#[test]
fn rearrange_refuses_what_it_cannot_do() {
    let shape = [symbol("n"), 10.into()];
    for (pattern, h, why) in [
        ("n (h d) -> n h d", 3, "does not divide"),
        ("n (h d) -> n h", 2, "other axes"),
        ("n (h d) -> n h d e", 2, "no axis e"),
        ("n h d -> n d h", 2, "3 axes"),
        ("n (h d -> n h d", 2, "open bracket"),
        ("n (a h d) -> n a h d", 2, "does not divide"),
    ] {
        let result = trace(&shape, |x| x.rearrange(pattern, &[("h", h.into())]));
        assert!(reason(result).contains(why), "{pattern}");
    }
}

#[test]
fn sizes_that_reshape_cannot_say_are_computed_from_an_input() {
    let (h, w) = (symbol("h"), symbol("w"));
    let shape = [&h * &8.into(), w.clone()];
    let sizes = [("a", h), ("b", w)];
    let graph = trace(&shape, |x| {
        let flat = x.rearrange("(a e) b -> e (a b)", &[("e", 8.into())]);
        flat.rearrange("e (a b) -> b a e", &sizes)
    })
    .unwrap();
    assert_eq!(output_shape(&graph), "w h 8");
    let counts = |op| graph.nodes.iter().filter(|node| node.op == op).count();
    assert_eq!((counts("Shape"), counts("Div")), (2, 1), "h is read off once, as 8h / 8");
}

#[test]
fn slices_count_from_both_ends_and_stay_inside() {
    let shape = [symbol("n"), 7.into()];
    let tail = trace(&shape, |x| x.slice(0, -2..i64::MAX)).unwrap();
    assert_eq!(output_shape(&tail), "2 7");
    assert_eq!(output_shape(&trace(&shape, |x| x.slice(1, 2..5)).unwrap()), "n 3");
    assert!(trace(&shape, |x| x.slice(1, 2..9)).is_err());
    assert!(trace(&shape, |x| x.slice(2, 0..1)).is_err());
    assert_eq!(output_shape(&trace(&shape, |x| x.index(3)).unwrap()), "7");
}

#[test]
fn concat_adds_sizes_of_one_axis_only() {
    let shape = [symbol("n"), 3.into()];
    let joined = trace(&shape, |x| concat(0, &[x, x, x])).unwrap();
    assert_eq!(output_shape(&joined), "3*n 3");
    assert!(trace(&shape, |x| concat(0, &[x, x.slice(1, 0..2)])).is_err());
}

#[test]
fn causal_convolution_keeps_the_last_frames() {
    let checkpoint =
        Shapes::from([("conv.weight".into(), vec![5, 2, 3, 3, 3]), ("conv.bias".into(), vec![5])]);
    let g = GraphBuilder::new("test", &checkpoint, Precision::F32);
    let size = |t: Dim| [1.into(), t, symbol("h"), symbol("w"), 2.into()];
    let x = g.input("x", DType::F32, &size(symbol("t")));
    let cache = g.input("cache", DType::F32, &size(2.into()));
    let (y, next) = g.root().causal_conv3d("conv", x, 5, Conv3d::same([3, 3, 3]), cache);
    assert_eq!(y.shape()[1], symbol("t"));
    assert_eq!(next.shape()[1], 2.into());
    g.output("y", y, DType::F32);
    g.finish().unwrap();
}

#[test]
fn taps_are_outputs_only_where_asked_for() {
    let checkpoint = Shapes::from([("norm.weight".into(), vec![5])]);
    let model = |g: &GraphBuilder<'_>| {
        let s = g.root();
        let x = g.input("x", DType::F32, &[5.into()]).to_compute();
        let x = s.rms_norm("norm", x, 1e-6, Layout::AsIs);
        s.at("block").tap("after", x);
        g.output("y", x, DType::F32);
    };
    let plain = GraphBuilder::new("test", &checkpoint, Precision::Bf16);
    model(&plain);
    assert_eq!(plain.finish().unwrap().outputs.len(), 1);
    let tapped = GraphBuilder::new("test", &checkpoint, Precision::F32).with_taps(Taps::Values);
    model(&tapped);
    let outputs = tapped.finish().unwrap().outputs;
    assert_eq!(outputs[0].name, "tap.block.after");
}

#[test]
fn one_tensor_used_twice_is_one_initializer() {
    let checkpoint = Shapes::from([("tied.weight".into(), vec![5, 5])]);
    let g = GraphBuilder::new("test", &checkpoint, Precision::F32);
    let x = g.input("x", DType::F32, &[symbol("n"), 5.into()]);
    let s = g.root();
    g.output("y", s.linear_no_bias("tied", s.linear_no_bias("tied", x, 5), 5), DType::F32);
    assert_eq!(g.finish().unwrap().weights().count(), 1);
}

#[test]
fn mistakes_are_values_that_can_be_matched() {
    let nothing = Shapes::new();
    let g = GraphBuilder::new("test", &nothing, Precision::F32);
    g.root().tensor("w", &[2]);
    let errors = g.finish().unwrap_err().errors;
    assert_eq!(errors, [BuildError::MissingTensor { name: "w".into(), expected: vec![2] }]);
}
