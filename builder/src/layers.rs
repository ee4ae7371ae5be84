//! What TensorRT made of a graph: its engine inspector's JSON, by kind of kernel.
//!
//! Layers are only counted here. How long each one takes is measured by `bernini bench --layers`,
//! which asks [`LayerKinds`] what they are.

use std::collections::BTreeMap;
use std::path::Path;

use bernini_graphs::Submodule;
use serde::Serialize;
use serde_json::Value;

use crate::{files, store};

/// Longest description that is read: 40 blocks with details have a few megabytes.
const MAX_DESCRIPTION: u64 = 1 << 30;

/// Products, softmax and products of attention in one kernel.
const ATTENTION: &str = "attention";
/// Matrix products of E4M3, of bf16, and of f32 or of what the description does not tell.
const FP8_PRODUCT: &str = "FP8 products";
const BF16_PRODUCT: &str = "bf16 products";
const OTHER_PRODUCT: &str = "other products";
const CONVOLUTION: &str = "convolutions";
/// A norm with all that was fused with it: modulation, residuals, quantisation, RoPE.
const NORMALISATION: &str = "normalisation";
/// On its own: attention that was not fused.
const SOFTMAX: &str = "softmax";
/// On its own, not at the end of another kernel.
const QUANTISE: &str = "quantise";
const POINT_WISE: &str = "point-wise";
/// Moves numbers, or changes their type or layout, and nothing else.
const REFORMAT: &str = "reformat";
const OTHER: &str = "other";

/// Words in the name of a kernel or layer, and what they tell; the first that is found counts.
const WORDS: &[(&str, &[&str])] = &[
    (ATTENTION, &["mha", "flash", "fused_attention", "fp8attention"]),
    (CONVOLUTION, &["conv", "fprop"]),
    (OTHER_PRODUCT, &["gemm", "matmul", "matrixmultiply", "matrix_multiply", "cublas"]),
    (QUANTISE, &["quan"]),
    (SOFTMAX, &["softmax"]),
    (NORMALISATION, &["norm"]),
    (REFORMAT, &["reformat", "shuffle", "copy", "conc", "slic", "transp", "resh", "cast"]),
    (POINT_WISE, &["wise", "pwn", "unary", "reduce", "activation", "silu", "sigm", "tanh", "exp"]),
];

/// Kernels that fusion with a neighbour would have spared.
const UNFUSED: [&str; 3] = [SOFTMAX, QUANTISE, REFORMAT];

/// How many layers an engine has, by kind. These are counts: a softmax of its own may cost more
/// than a hundred products.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LayerSummary {
    /// Layers in all.
    pub total: usize,
    /// Layers by kind of kernel.
    pub kinds: BTreeMap<&'static str, usize>,
    /// Layers by TensorRT's own type.
    pub types: BTreeMap<String, usize>,
    /// Share of the matrix products that are in FP8, by count; none without products.
    pub fp8_share_of_products: Option<f64>,
    /// What fell out of fusion: layers that only normalise probabilities, quantise, or move
    /// numbers, by kind and by the nodes of the graph that they come from.
    pub unfused: BTreeMap<&'static str, Vec<String>>,
}

impl LayerSummary {
    /// Counts the layers of an engine; text that is no such JSON gives none.
    pub fn parse(json: &str) -> Self {
        let mut summary = Self::default();
        for layer in layers(json) {
            let kind = kind(&layer);
            summary.total += 1;
            *summary.kinds.entry(kind).or_default() += 1;
            let layer_type = text(&layer, "LayerType");
            let layer_type = if layer_type.is_empty() { "unknown" } else { layer_type };
            *summary.types.entry(layer_type.into()).or_default() += 1;
            if UNFUSED.contains(&kind) {
                summary.unfused.entry(kind).or_default().push(origin(&layer));
            }
        }
        let fp8 = summary.count(FP8_PRODUCT);
        let products = fp8 + summary.count(BF16_PRODUCT) + summary.count(OTHER_PRODUCT);
        summary.fp8_share_of_products = (products > 0).then(|| fp8 as f64 / products as f64);
        summary
    }

    /// FP8 products.
    pub fn fp8_products(&self) -> usize {
        self.count(FP8_PRODUCT)
    }

    fn count(&self, kind: &str) -> usize {
        self.kinds.get(kind).copied().unwrap_or(0)
    }
}

/// Kind of every layer of an engine, by the name that a profiler reports.
#[derive(Clone, Debug, Default)]
pub struct LayerKinds(BTreeMap<String, &'static str>);

impl LayerKinds {
    /// Reads what a build wrote about an engine. Where that is gone, names alone decide, which do
    /// not tell FP8 products from others.
    pub fn read(engines: &Path, submodule: Submodule) -> Self {
        let path = engines.join(store::layers_file(submodule));
        let json = files::read(&path, MAX_DESCRIPTION).unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&json))
    }

    fn parse(json: &str) -> Self {
        let named = |layer: &Value| (text(layer, "Name").to_string(), kind(layer));
        Self(layers(json).iter().map(named).collect())
    }

    /// Kind of the layer called `name`.
    pub fn of(&self, name: &str) -> &'static str {
        // Profiles after the first have their number behind the names of their layers.
        let plain = name.split_once(" [profile").map_or(name, |(plain, _)| plain);
        let known = self.0.get(name).or_else(|| self.0.get(plain));
        known.copied().unwrap_or_else(|| kind(&Value::from(plain)))
    }
}

fn layers(json: &str) -> Vec<Value> {
    let Ok(Value::Object(mut engine)) = serde_json::from_str(json) else { return vec![] };
    match engine.remove("Layers") {
        Some(Value::Array(layers)) => layers,
        _ => vec![],
    }
}

/// Kind of one layer: an object where the engine was built with details, else its name alone. The
/// kernel says more than the type, and the type more than the name.
fn kind(layer: &Value) -> &'static str {
    let fields = ["PluginType", "TacticName", "LayerType", "Name"];
    match fields.iter().find_map(|field| kind_of(text(layer, field))) {
        Some(OTHER_PRODUCT) => product(layer),
        kind => kind.unwrap_or(OTHER),
    }
}

fn kind_of(name: &str) -> Option<&'static str> {
    if let Some(generated) = name.strip_prefix("__myl_") {
        return generated_kind(generated);
    }
    let name = name.to_lowercase();
    let named = |words: &[&str]| words.iter().any(|word| name.contains(word));
    WORDS.iter().find(|(_, words)| named(words)).map(|(kind, _)| *kind)
}

/// Kind of a kernel that TensorRT generated and named by its operations, three letters each, such
/// as `MulMinMaxCasResTra_myl0_24`: multiply, clip, cast, reshape, transpose.
fn generated_kind(name: &str) -> Option<&'static str> {
    let name = name.split('_').next().unwrap_or_default();
    let starts =
        name.char_indices().filter(|(_, c)| c.is_ascii_uppercase()).map(|(start, _)| start);
    let ends = starts.clone().skip(1).chain([name.len()]);
    let operations: Vec<&str> = starts.zip(ends).map(|(start, end)| &name[start..end]).collect();
    let has = |operation| operations.contains(&operation);
    let only = |known: &[&str]| operations.iter().all(|operation| known.contains(operation));
    let moves = ["Cas", "Res", "Tra", "Sli", "Con", "Mov"];
    Some(match operations.is_empty() {
        true => return None,
        _ if has("Fc") => OTHER_PRODUCT,
        // A mean, or the root of one.
        _ if has("Mea") || has("Sqr") => NORMALISATION,
        _ if has("Exp") && has("Sum") => SOFTMAX,
        _ if only(&moves) => REFORMAT,
        _ if has("Min") && only(&[&moves[..], &["Mul", "Div", "Min", "Max"]].concat()) => QUANTISE,
        _ => POINT_WISE,
    })
}

/// By the kernel's name, else by the type of what it multiplies.
fn product(layer: &Value) -> &'static str {
    let inputs = layer.get("Inputs").map(Value::to_string).unwrap_or_default();
    let sources = [text(layer, "TacticName"), &inputs].map(str::to_lowercase);
    let says = |words: &[&str]| sources.iter().any(|s| words.iter().any(|word| s.contains(word)));
    match () {
        () if says(&["e4m3", "fp8", "float8"]) => FP8_PRODUCT,
        () if says(&["bf16", "bfloat16"]) => BF16_PRODUCT,
        () => OTHER_PRODUCT,
    }
}

/// The nodes that a layer was made from, else its own name.
fn origin(layer: &Value) -> String {
    let nodes = text(layer, "Metadata").split('\u{1e}');
    let nodes = nodes.filter_map(|node| node.strip_prefix("[ONNX Layer: ")?.strip_suffix(']'));
    match nodes.collect::<Vec<_>>().as_slice() {
        [] => text(layer, "Name").into(),
        nodes => nodes.join(" + "),
    }
}

fn text<'a>(layer: &'a Value, field: &str) -> &'a str {
    match layer {
        Value::String(name) if field == "Name" => name,
        _ => layer.get(field).and_then(Value::as_str).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: &str = r#"{"Layers": [
        {"Name": "blocks.0/ffn", "LayerType": "gemm",
         "TacticName": "sm90_xmma_gemm_e4m3bf16_e4m3f32_f32_tn_n_tilesize128x256x64"},
        {"Name": "blocks_0_ffn_net_2/MatMul_myl0_41", "LayerType": "gemm",
         "Inputs": [{"Name": "x", "Format/Datatype": "FP8"}]},
        {"Name": "attn", "LayerType": "kgen", "TacticName": "_gemm_mha_v2_0x1234"},
        {"Name": "blocks.3.attn1", "LayerType": "PluginV3", "PluginType": "Fp8Attention"},
        {"Name": "up", "LayerType": "gemm", "TacticName": "sm90_xmma_gemm_bf16bf16_bf16f32"},
        {"Name": "time", "LayerType": "gemm", "Inputs": [{"Format/Datatype": "Float"}]},
        {"Name": "conv_in", "LayerType": "CaskConvolution", "TacticName": "sm80_xmma_fprop"},
        {"Name": "add", "LayerType": "kgen", "TacticName": "__myl_MulAddCast_0x77"},
        {"Name": "__myl_MulMinMaxCasResTra_myl0_24", "LayerType": "kgen",
         "Metadata": "[ONNX Layer: blocks.0.attn1/Mul]\u001e[ONNX Layer: blocks.0.attn1/Q]"},
        {"Name": "Reformatting CopyNode for Input Tensor 0", "LayerType": "Reformat"},
        "a name alone", 7],
        "Bindings": ["tokens"]}"#;

    #[test]
    fn layers_are_counted_by_kind() {
        let summary = LayerSummary::parse(ENGINE);
        assert_eq!(summary.total, 12);
        let expected = [
            (ATTENTION, 2),
            (BF16_PRODUCT, 1),
            (CONVOLUTION, 1),
            (FP8_PRODUCT, 2),
            (OTHER, 2),
            (OTHER_PRODUCT, 1),
            (POINT_WISE, 1),
            (QUANTISE, 1),
            (REFORMAT, 1),
        ];
        assert_eq!(summary.kinds, expected.into());
        assert_eq!((summary.types["gemm"], summary.types["unknown"]), (4, 2));
        assert_eq!((summary.fp8_products(), summary.fp8_share_of_products), (2, Some(0.5)));
    }

    #[test]
    fn what_fell_out_of_fusion_is_named_by_the_nodes_of_the_graph() {
        let unfused = LayerSummary::parse(ENGINE).unfused;
        let expected = [
            (QUANTISE, vec!["blocks.0.attn1/Mul + blocks.0.attn1/Q".to_string()]),
            (REFORMAT, vec!["Reformatting CopyNode for Input Tensor 0".to_string()]),
        ];
        assert_eq!(unfused, expected.into());
    }

    /// Names of TensorRT 10.6 on an H200 (bench/results/h200-two-blocks-*.json).
    #[test]
    fn generated_kernels_are_told_by_their_operations() {
        for (name, expected) in [
            (
                "__myl_CasMeaSubMulMeaAddSqrDivMulMulAddSliSliAddMulAddCasMulMinMaxCas_myl0_14",
                NORMALISATION,
            ),
            ("__myl_CasMulMea_myl0_17", NORMALISATION),
            ("__myl_AddSqrDivMulCasMulResTraMulSliNegSliConMulAddRes_myl0_49", NORMALISATION),
            ("__myl_MulMinMaxCasResTra_myl0_24", QUANTISE),
            ("__myl_MovSliResTraSliResTraResRes_myl0_27", REFORMAT),
            ("__myl_NegExpAddDivMul_myl0_6", POINT_WISE),
            ("__myl_FcMulMulMulAddMulTanAddMulMul_myl0_38", OTHER_PRODUCT),
            ("__myl_MaxSubExpSumDivMul_myl0_3", SOFTMAX),
            ("__mye20495_0_myl0_0", OTHER),
            ("entry^bb^signal^1_myl0_1", OTHER),
            ("_gemm_mha_v2_myl0_23", ATTENTION),
            ("blocks_0_attn1_to_q/MatMul_myl0_15", OTHER_PRODUCT),
        ] {
            assert_eq!(LayerKinds::default().of(name), expected, "{name}");
        }
    }

    #[test]
    fn a_profiler_s_names_find_the_kernels_of_the_description() {
        let kinds = LayerKinds::parse(ENGINE);
        let name = "blocks_0_ffn_net_2/MatMul_myl0_41";
        assert_eq!(kinds.of(name), FP8_PRODUCT);
        assert_eq!(kinds.of(&format!("{name} [profile 1]")), FP8_PRODUCT);
        assert_eq!(LayerKinds::default().of(name), OTHER_PRODUCT);
        let nowhere = LayerKinds::read(Path::new("/nowhere"), Submodule::Transformer);
        assert_eq!(nowhere.of("_gemm_mha_v2_myl0_23"), ATTENTION);
    }

    #[test]
    fn what_is_no_description_has_no_layers() {
        for json in ["", "[]", "{}", r#"{"Layers": 3}"#, r#"{"Layers": []}"#] {
            assert_eq!(LayerSummary::parse(json), LayerSummary::default(), "{json}");
        }
    }
}
