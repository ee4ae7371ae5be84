//! What TensorRT made of a graph: its engine inspector's JSON, counted by kind of kernel.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// Kinds of layers of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LayerSummary {
    /// Layers in all.
    pub total: usize,
    /// Layers by kind, see `kind`.
    pub kinds: BTreeMap<&'static str, usize>,
    /// Layers by TensorRT's own type.
    pub types: BTreeMap<String, usize>,
}

/// Words in a kernel's or layer's name, and what they tell; the first that is found counts.
const KINDS: &[(&str, &[&str])] = &[
    ("attention", &["mha", "flash", "fused_attention"]),
    ("fp8 gemm", &["e4m3"]),
    ("convolution", &["conv", "fprop"]),
    ("gemm", &["gemm", "matmul", "matrixmultiply", "cublas"]),
    ("quantize", &["quan"]),
    ("softmax", &["softmax"]),
    ("reduce", &["reduce", "norm", "mean"]),
    ("point-wise", &["mul", "add", "sub", "div", "silu", "sigm", "tanh", "exp", "wise", "pwn"]),
    ("copy", &["reformat", "shuffle", "copy", "conc", "slic", "tran", "move", "resh", "cast"]),
    ("point-wise", &["myl", "kgen"]),
];

impl LayerSummary {
    /// Counts the layers of an engine; text that is no such JSON gives none.
    pub fn parse(json: &str) -> Self {
        let Ok(Value::Object(engine)) = serde_json::from_str(json) else { return Self::default() };
        let Some(Value::Array(layers)) = engine.get("Layers") else { return Self::default() };
        let mut summary = Self { total: layers.len(), ..Self::default() };
        for layer in layers {
            *summary.kinds.entry(kind(layer)).or_default() += 1;
            let layer_type = text(layer, "LayerType");
            let layer_type = if layer_type.is_empty() { "unknown" } else { layer_type };
            *summary.types.entry(layer_type.into()).or_default() += 1;
        }
        summary
    }
}

/// Kind of one layer: an object where the engine was built with details, else its name alone. The
/// kernel says more than the type, and the type more than the name.
pub fn kind(layer: &Value) -> &'static str {
    let fields = ["TacticName", "LayerType", "Name"].map(|field| text(layer, field));
    let found = fields.iter().find_map(|text| {
        let text = text.to_lowercase();
        let named = |words: &[&str]| words.iter().any(|word| text.contains(word));
        KINDS.iter().find(|(_, words)| named(words)).map(|(kind, _)| *kind)
    });
    found.unwrap_or("other")
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

    #[test]
    fn layers_are_counted_by_kind() {
        let json = r#"{"Layers": [
            {"Name": "blocks.0/ffn", "LayerType": "gemm",
             "TacticName": "sm90_xmma_gemm_e4m3bf16_e4m3f32_f32_tn_n_tilesize128x256x64"},
            {"Name": "attn", "LayerType": "kgen", "TacticName": "_gemm_mha_v2_0x1234"},
            {"Name": "up", "LayerType": "gemm", "TacticName": "sm90_xmma_gemm_bf16bf16_bf16f32"},
            {"Name": "conv_in", "LayerType": "CaskConvolution", "TacticName": "sm80_xmma_fprop"},
            {"Name": "add", "LayerType": "kgen", "TacticName": "__myl_MulAddCast_0x77"},
            {"Name": "Reformatting CopyNode for Input Tensor 0", "LayerType": "Reformat"},
            "a name alone", 7],
            "Bindings": ["tokens"]}"#;
        let summary = LayerSummary::parse(json);
        assert_eq!(summary.total, 8);
        let expected = [
            ("attention", 1),
            ("convolution", 1),
            ("copy", 1),
            ("fp8 gemm", 1),
            ("gemm", 1),
            ("other", 2),
            ("point-wise", 1),
        ];
        assert_eq!(summary.kinds, expected.into());
        assert_eq!((summary.types["gemm"], summary.types["unknown"]), (2, 2));
    }

    #[test]
    fn what_is_no_description_has_no_layers() {
        for json in ["", "[]", "{}", r#"{"Layers": 3}"#, r#"{"Layers": []}"#] {
            assert_eq!(LayerSummary::parse(json), LayerSummary::default(), "{json}");
        }
    }
}
