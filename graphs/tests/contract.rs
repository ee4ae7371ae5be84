//! The released model from names and shapes alone: what each submodule asks a checkpoint for.
#![allow(clippy::unwrap_used)] // A test may panic.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bernini_graphs::config::{TextEncoderConfig, TransformerConfig, VaeConfig};
use bernini_graphs::models::{Configs, build};
use bernini_graphs::taps::{
    ABOVE, AMAX, AMAX_CENTERED_K, AMAX_COLUMNS, AMAX_K, AMAX_Q, AMAX_ROWS, AMAX_V, EDGES, ROUNDING,
    STEPS, edges, is_tap,
};
use bernini_graphs::{
    BuildError, DType, Dim, ExternalData, Fp8AttentionScales, Fp8Policy, Fp8Scales, Graph,
    Precision, Submodule, Taps,
};

type Shapes = BTreeMap<String, Vec<usize>>;

/// Configs of the release (spec A.4, A.5, A.6).
fn release() -> Configs {
    let transformer: TransformerConfig = serde_json::from_str(
        r#"{"patch_size": [1, 2, 2], "num_attention_heads": 40, "attention_head_dim": 128,
            "in_channels": 16, "out_channels": 16, "text_dim": 4096, "freq_dim": 256,
            "ffn_dim": 13824, "num_layers": 40, "cross_attn_norm": true,
            "qk_norm": "rms_norm_across_heads", "eps": 1e-6, "rope_max_seq_len": 1024}"#,
    )
    .unwrap();
    let text_encoder: TextEncoderConfig = serde_json::from_str(
        r#"{"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
            "vocab_size": 256384, "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6,
            "feed_forward_proj": "gated-gelu"}"#,
    )
    .unwrap();
    let latents = vec![0.5; 16];
    let vae: VaeConfig = serde_json::from_value(serde_json::json!({
        "base_dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2,
        "attn_scales": [], "temperal_downsample": [false, true, true],
        "latents_mean": latents, "latents_std": latents,
    }))
    .unwrap();
    transformer.validate().unwrap();
    text_encoder.validate().unwrap();
    vae.validate().unwrap();
    Configs { planner: None, text_encoder, transformer_2: transformer.clone(), transformer, vae }
}

/// Every tensor that a submodule asks an empty checkpoint for.
fn asked(submodule: Submodule) -> Shapes {
    let nothing = Shapes::new();
    let errors = build(submodule, &release(), &nothing, Precision::F32, Taps::None).unwrap_err();
    let missing = errors.errors.into_iter().map(|error| match error {
        BuildError::MissingTensor { name, expected } => (name, expected),
        other => panic!("{other}"),
    });
    missing.collect()
}

fn parameters(shapes: &Shapes) -> usize {
    shapes.values().map(|shape| shape.iter().product::<usize>()).sum()
}

/// The tensors of one expert as the specification lists them (B.2).
fn expert() -> Shapes {
    let (d, f) = (5120, 13824);
    let mut shapes = Shapes::new();
    let mut add =
        |name: String, shape: &[usize]| assert!(shapes.insert(name, shape.to_vec()).is_none());
    let linears = |prefix: &str, layers: &[(&str, usize, usize)]| -> Vec<(String, Vec<usize>)> {
        let both = |(name, out, width): &(&str, usize, usize)| {
            let path = format!("{prefix}{name}");
            [(format!("{path}.weight"), vec![*out, *width]), (format!("{path}.bias"), vec![*out])]
        };
        layers.iter().flat_map(both).collect()
    };
    add("patch_embedding.weight".into(), &[d, 16, 1, 2, 2]);
    add("patch_embedding.bias".into(), &[d]);
    add("scale_shift_table".into(), &[1, 2, d]);
    let mut all = linears(
        "",
        &[
            ("condition_embedder.time_embedder.linear_1", d, 256),
            ("condition_embedder.time_embedder.linear_2", d, d),
            ("condition_embedder.time_proj", 6 * d, d),
            ("condition_embedder.text_embedder.linear_1", d, 4096),
            ("condition_embedder.text_embedder.linear_2", d, d),
            ("proj_out", 64, d),
        ],
    );
    for i in 0..40 {
        add(format!("blocks.{i}.scale_shift_table"), &[1, 6, d]);
        for norm in ["attn1.norm_q", "attn1.norm_k", "attn2.norm_q", "attn2.norm_k", "norm2"] {
            add(format!("blocks.{i}.{norm}.weight"), &[d]);
        }
        add(format!("blocks.{i}.norm2.bias"), &[d]);
        all.extend(linears(
            &format!("blocks.{i}."),
            &[
                ("attn1.to_q", d, d),
                ("attn1.to_k", d, d),
                ("attn1.to_v", d, d),
                ("attn1.to_out.0", d, d),
                ("attn2.to_q", d, d),
                ("attn2.to_k", d, d),
                ("attn2.to_v", d, d),
                ("attn2.to_out.0", d, d),
                ("ffn.net.0.proj", f, d),
                ("ffn.net.2", d, f),
            ],
        ));
    }
    all.into_iter().for_each(|(name, shape)| add(name, &shape));
    shapes
}

/// `submodule` of the release with the amax taps, and without.
fn tapped(submodule: Submodule, precision: Precision<'_>) -> [Graph; 2] {
    let shapes = asked(submodule);
    [Taps::Amax, Taps::None]
        .map(|taps| build(submodule, &release(), &shapes, precision, taps).unwrap())
}

#[test]
fn whatever_the_policy_is_asked_about_has_its_amax() {
    #[derive(Default)]
    struct Asked(RefCell<BTreeSet<String>>, RefCell<BTreeSet<String>>);
    impl Fp8Policy for Asked {
        fn scales(&self, path: &str) -> Option<Fp8Scales> {
            self.0.borrow_mut().insert(path.into());
            None
        }
        fn attention(&self, path: &str) -> Option<Fp8AttentionScales> {
            self.1.borrow_mut().insert(path.into());
            None
        }
    }
    for submodule in [Submodule::TextEncoder, Submodule::Transformer, Submodule::TransformerContext]
    {
        let asked = Asked::default();
        tapped(submodule, Precision::Fp8(&asked));
        let (linears, attentions) = (asked.0.into_inner(), asked.1.into_inner());
        assert!(linears.len() > 40, "{submodule}: {}", linears.len());
        let expected = if submodule == Submodule::Transformer { 2 * 40 } else { 0 };
        assert_eq!(attentions.len(), expected);
        let is_self = |path: &&String| path.ends_with(".attn1");
        let own_keys: BTreeSet<_> = attentions.iter().filter(is_self).cloned().collect();
        assert_eq!(own_keys.len(), expected / 2);
        for precision in [Precision::F32, Precision::Bf16] {
            let [with, without] = tapped(submodule, precision);
            let extra = &with.outputs[..with.outputs.len() - without.outputs.len()];
            assert_eq!(with.outputs[extra.len()..], without.outputs);
            for (prefix, paths) in [
                (AMAX, &linears),
                (AMAX_ROWS, &linears),
                (AMAX_COLUMNS, &linears),
                (AMAX_Q, &attentions),
                (AMAX_K, &attentions),
                (AMAX_CENTERED_K, &own_keys),
                (AMAX_V, &attentions),
            ] {
                let named = extra.iter().filter_map(|port| port.name.strip_prefix(prefix));
                let mut named: Vec<_> = named.collect();
                named.sort_unstable();
                assert!(named.iter().copied().eq(paths), "{submodule} {prefix}");
            }
            assert_eq!(extra.len(), 3 * linears.len() + 3 * attentions.len() + own_keys.len());
            assert!(extra.iter().all(|port| port.dtype == DType::F32));
            for (name, shape) in [
                ("amax.blocks.3.ffn.net.2", vec![13824]),
                ("amax_rows.blocks.3.ffn.net.2", vec![5120]),
                ("amax_columns.blocks.3.ffn.net.2", vec![13824]),
                ("amax_k.blocks.3.attn2", vec![40, 128]),
                ("amax_centered_k.blocks.3.attn1", vec![40, 128]),
            ] {
                let shape: Vec<Dim> = shape.into_iter().map(Dim::from).collect();
                let tap = extra.iter().find(|port| port.name == name);
                assert!(tap.is_none_or(|port| port.shape == shape), "{name}");
                assert_eq!(tap.is_some(), submodule == Submodule::Transformer, "{name}");
            }
        }
    }
}

#[test]
fn statistics_say_more_of_every_activation_with_amax_and_are_made_once_a_tensor() {
    let shapes = asked(Submodule::Transformer);
    for precision in [Precision::F32, Precision::Bf16] {
        let [amax, more] = [Taps::Amax, Taps::Statistics].map(|taps| {
            build(Submodule::Transformer, &release(), &shapes, precision, taps).unwrap()
        });
        // Weights are always scaled by their largest magnitude, and so are centred keys.
        let amax_alone = |name: &&str| {
            [AMAX_ROWS, AMAX_COLUMNS, AMAX_CENTERED_K].iter().any(|kind| name.starts_with(kind))
        };
        let amax: BTreeSet<_> = amax.outputs.iter().map(|port| port.name.as_str()).collect();
        let activations = amax.iter().filter(|name| is_tap(name) && !amax_alone(name));
        let mut expected = amax.clone();
        let added: Vec<_> = activations
            .flat_map(|tap| [(format!("{ABOVE}{tap}"), EDGES), (format!("{ROUNDING}{tap}"), STEPS)])
            .collect();
        // Per block: eight linear layers, two attentions; and the layers around the blocks.
        assert!(added.len() >= 2 * 40 * (8 + 2 * 3), "{}", added.len());
        expected.extend(added.iter().map(|(name, _)| name.as_str()));
        let found: BTreeSet<_> = more.outputs.iter().map(|port| port.name.as_str()).collect();
        assert_eq!(found, expected);
        for (name, size) in &added {
            let port = more.outputs.iter().find(|port| port.name == *name).unwrap();
            assert_eq!((port.dtype, &port.shape[..]), (DType::F32, &[Dim::from(*size)][..]));
            assert!(is_tap(name), "{name}");
        }
        // to_q, to_k and to_v of a self attention read one tensor.
        let signs = more.nodes.iter().filter(|node| node.op == "Sign").count();
        let tensors = added.len() / 2 - 2 * 40;
        assert_eq!(signs, 2 * tensors);
    }
    let edges = edges();
    assert!(edges[0] < 0.0 && edges.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!((edges[1], edges[3], edges[EDGES - 1]), (1.0 / 4096.0, 1.0 / 2048.0, 32768.0));
}

#[test]
fn expert_and_its_context_use_all_1095_tensors_once() {
    let (step, context) = (asked(Submodule::Transformer), asked(Submodule::TransformerContext));
    assert!(step.keys().all(|name| !context.contains_key(name)), "a tensor in both graphs");
    let both: Shapes = step.into_iter().chain(context).collect();
    assert_eq!(both.len(), 1095);
    assert_eq!(parameters(&both), 14_288_491_584);
    assert_eq!(both, expert());
}

#[test]
fn expert_of_14_billion_parameters_builds_from_its_shapes_in_every_precision() {
    let shapes = expert();
    for (precision, bytes) in
        [(Precision::F32, 4), (Precision::Bf16, 2), (Precision::Fp8(&Linears), 1)]
    {
        let graph =
            build(Submodule::Transformer, &release(), &shapes, precision, Taps::None).unwrap();
        let linears = graph.nodes.iter().filter(|node| node.op == "MatMul").count();
        // Per block: q, k, v, o, cross q, cross o, two of the FFN, and two products per attention.
        assert_eq!(linears, 40 * (8 + 4) + 1 + 3 + 1);
        let up =
            graph.weights().find(|(init, _)| init.name == "blocks.7.ffn.net.2.weight").unwrap().0;
        assert_eq!(up.bytes(), 5120 * 13824 * bytes);
        let quantised = graph.nodes.iter().filter(|node| node.op == "QuantizeLinear").count();
        assert_eq!(quantised, if bytes == 1 { 40 * 8 } else { 0 });
        let time =
            graph.weights().find(|(init, _)| init.name.contains("time_proj.weight")).unwrap().0;
        assert_eq!(time.dtype, DType::F32, "the time path is an f32 island");
    }
}

#[test]
fn text_encoder_uses_every_tensor_but_the_two_embeddings() {
    let shapes = asked(Submodule::TextEncoder);
    assert_eq!(shapes.len(), 243 - 2);
    assert_eq!(parameters(&shapes), 5_680_910_336 - 256_384 * 4096);
}

#[test]
fn vae_halves_use_126_892_531_parameters_and_share_none() {
    let union = |first, next| -> Shapes {
        let (first, next) = (asked(first), asked(next));
        assert!(first.keys().all(|name| next.contains_key(name)), "the first chunk needs no more");
        assert_eq!(next.len() - first.len(), 4, "two time_conv with weight and bias");
        next
    };
    let encoder = union(Submodule::VaeEncoderFirst, Submodule::VaeEncoderNext);
    let decoder = union(Submodule::VaeDecoderFirst, Submodule::VaeDecoderNext);
    assert!(encoder.keys().all(|name| !decoder.contains_key(name)));
    assert_eq!(parameters(&encoder) + parameters(&decoder), 126_892_531);
}

#[test]
fn chunks_hand_their_caches_over_by_name() {
    let configs = release();
    for (first, next, caches) in [
        (Submodule::VaeEncoderFirst, Submodule::VaeEncoderNext, 24),
        (Submodule::VaeDecoderFirst, Submodule::VaeDecoderNext, 32),
    ] {
        let shapes = asked(next);
        let first = build(first, &configs, &shapes, Precision::F32, Taps::None).unwrap();
        let next = build(next, &configs, &shapes, Precision::F32, Taps::None).unwrap();
        let out = |graph: &Graph| -> BTreeMap<String, String> {
            let ports = graph.outputs.iter().filter_map(|port| {
                let name = port.name.strip_prefix("next.")?.to_string();
                Some((name, format!("{:?}", port.shape)))
            });
            ports.collect()
        };
        let taken: BTreeMap<String, String> = next
            .inputs
            .iter()
            .filter_map(|port| {
                let name = port.name.strip_prefix("cache.")?.to_string();
                Some((name, format!("{:?}", port.shape)))
            })
            .collect();
        assert_eq!(taken.len(), caches);
        assert_eq!(out(&first), taken, "the first chunk gives what the next one takes");
        assert_eq!(out(&next), taken, "and so does every later one");
    }
}

/// Puts the linear layers of every block into FP8.
struct Linears;
impl Fp8Policy for Linears {
    fn scales(&self, path: &str) -> Option<Fp8Scales> {
        path.starts_with("blocks.").then_some(Fp8Scales { input: 0.01, weight: 0.001 })
    }
    fn attention(&self, _: &str) -> Option<Fp8AttentionScales> {
        None
    }
}

const SCALES: Fp8AttentionScales =
    Fp8AttentionScales { q: 0.02, k: 0.03, v: 0.04, out: 0.01, center_keys: false };

/// And every attention.
struct Everything;
impl Fp8Policy for Everything {
    fn scales(&self, path: &str) -> Option<Fp8Scales> {
        Linears.scales(path)
    }
    fn attention(&self, _: &str) -> Option<Fp8AttentionScales> {
        Some(SCALES)
    }
}

/// Everything but the linear layers.
struct Attentions;
impl Fp8Policy for Attentions {
    fn scales(&self, _: &str) -> Option<Fp8Scales> {
        None
    }
    fn attention(&self, path: &str) -> Option<Fp8AttentionScales> {
        Everything.attention(path)
    }
}

#[test]
fn attention_in_fp8_is_one_node_whose_values_the_projection_reads_as_they_are() {
    let shapes = asked(Submodule::Transformer);
    for (policy, quantised) in [(&Everything as &dyn Fp8Policy, 40 * 6), (&Attentions, 0)] {
        let precision = Precision::Fp8(policy);
        let graph =
            build(Submodule::Transformer, &release(), &shapes, precision, Taps::None).unwrap();
        let of = |op: &'static str| graph.nodes.iter().filter(move |node| node.op == op);
        assert_eq!(of("Fp8Attention").count(), 2 * 40);
        assert_eq!(of("Softmax").count(), 0);
        // Each of to_q, to_k, to_v, cross to_q and two of the FFN; no projection of an attention.
        assert_eq!(of("QuantizeLinear").count(), quantised);
        for node in of("Fp8Attention") {
            assert_eq!((node.domain(), node.output.dtype), ("bernini", DType::E4m3));
            let attention = node.output.name.strip_suffix("/Fp8Attention").unwrap();
            let readers: Vec<_> =
                graph.nodes.iter().filter(|n| n.inputs.contains(&node.output.name)).collect();
            let [real] = readers[..] else { panic!("{readers:?}") };
            assert_eq!((real.op, real.output.dtype), ("DequantizeLinear", DType::Bf16));
            let reader = graph.nodes.iter().find(|n| n.inputs.contains(&real.output.name)).unwrap();
            assert_eq!(reader.output.name, format!("{attention}.to_out.0/MatMul"));
        }
        let encoded = |graph: &Graph| {
            let (location, offsets) = ("w".into(), BTreeMap::new());
            let bytes = graph.encode(&ExternalData { location, offsets });
            bytes.windows(11).any(|part| part == b"\x0a\x07bernini\x10\x01")
        };
        assert!(encoded(&graph), "the domain is imported");
        let bf16 = build(Submodule::Transformer, &release(), &shapes, Precision::Bf16, Taps::None)
            .unwrap();
        assert!(!encoded(&bf16));
    }
}

/// Attention with centred keys where the path ends with this.
struct Centered(&'static str);
impl Fp8Policy for Centered {
    fn scales(&self, _: &str) -> Option<Fp8Scales> {
        None
    }
    fn attention(&self, path: &str) -> Option<Fp8AttentionScales> {
        Some(Fp8AttentionScales { center_keys: path.ends_with(self.0), ..SCALES })
    }
}

#[test]
fn keys_are_centred_where_the_policy_says_so_and_cached_ones_never() {
    let shapes = asked(Submodule::Transformer);
    let graph =
        |precision| build(Submodule::Transformer, &release(), &shapes, precision, Taps::None);
    let encoded = |precision| {
        let (location, offsets) = ("w".into(), BTreeMap::new());
        graph(precision).unwrap().encode(&ExternalData { location, offsets })
    };
    let means = |precision| {
        let graph = graph(precision).unwrap();
        graph.nodes.iter().filter(|node| node.op == "ReduceMean").count()
    };
    let (one, none) = (Centered("blocks.7.attn1"), Centered("nowhere"));
    assert_ne!(encoded(Precision::Fp8(&one)), encoded(Precision::Fp8(&none)));
    assert_eq!(means(Precision::Fp8(&one)), means(Precision::Fp8(&none)), "the node's business");
    assert_eq!(means(Precision::Fp8F32(&one)), means(Precision::Fp8F32(&none)) + 1);
    let cached = Centered("blocks.7.attn2");
    for precision in [Precision::Fp8(&cached), Precision::Fp8F32(&cached)] {
        let refused = graph(precision).unwrap_err();
        let [error] = &refused.errors[..] else { panic!("{refused}") };
        let found = "found center_keys at blocks.7.attn2, whose keys are cached";
        assert!(error.to_string().ends_with(found), "{error}");
    }
}

/// FLOPs of a submodule at these sizes in `[FP8, bf16, f32]`.
fn flops(submodule: Submodule, precision: Precision<'_>, sizes: &[(&str, usize)]) -> [f64; 3] {
    let graph = build(submodule, &release(), &asked(submodule), precision, Taps::None).unwrap();
    let sizes = sizes.iter().map(|&(symbol, size)| (symbol.to_string(), size)).collect();
    graph.work().flops(&sizes).unwrap().map(|flops| flops as f64 / 1e12)
}

/// Tera-FLOPs of spec/flops.md §1, §5, §6.
#[test]
fn arithmetic_is_that_of_the_specification() {
    let near = |found: f64, expected: f64| {
        assert!((found / expected - 1.0).abs() < 2e-3, "{found} TFLOP, expected {expected}");
    };
    let sizes = [("tokens", 32_760), ("context", 512)];
    let [fp8, bf16, _] = flops(Submodule::Transformer, Precision::Fp8(&Linears), &sizes);
    near(fp8, 23.907e9 * 32_760.0 / 1e12);
    near(bf16, 879.2 + 13.7);
    for precision in [Precision::Fp8(&Everything), Precision::Fp8F32(&Everything)] {
        let [fp8, _, _] = flops(Submodule::Transformer, precision, &sizes);
        near(fp8, 783.2 + 879.2 + 13.7);
    }
    let [fp8, bf16, _] = flops(Submodule::Transformer, Precision::Fp8(&Attentions), &sizes);
    near(fp8, 879.2 + 13.7);
    near(bf16, 783.2);
    let [fp8, bf16, _] = flops(Submodule::Transformer, Precision::Bf16, &sizes);
    assert_eq!(fp8, 0.0);
    near(bf16, 783.2 + 879.2 + 13.7);
    near(flops(Submodule::TextEncoder, Precision::Bf16, &[("text_tokens", 512)])[1], 4.84);
    let sizes = [("latent_frames", 1), ("latent_height", 60), ("latent_width", 104)];
    let vae = |first, next| -> f64 {
        flops(first, Precision::Bf16, &sizes)[1] + 20.0 * flops(next, Precision::Bf16, &sizes)[1]
    };
    near(vae(Submodule::VaeEncoderFirst, Submodule::VaeEncoderNext), 163.7);
    near(vae(Submodule::VaeDecoderFirst, Submodule::VaeDecoderNext), 275.4);
}
