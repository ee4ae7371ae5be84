//! Reads a golden: what to rebuild by the value rule, and what must come out.

use std::fs;
use std::path::PathBuf;

use bernini_exporter::synth::{SynthTensor, Values};
use ndarray::{Array, ArrayD, Dimension, IxDyn};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// One case of tests/reference.
pub struct Golden {
    case: String,
    /// The whole JSON file.
    pub json: Value,
}

impl Golden {
    /// The folder of all goldens.
    pub fn folder() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("goldens")
    }

    /// Reads `<case>.json`.
    ///
    /// # Panics
    /// When the file is not there: it is committed.
    pub fn load(case: &str) -> Self {
        let json =
            serde_json::from_slice(&read(&format!("{case}.json"))).expect("goldens are JSON");
        Self { case: case.into(), json }
    }

    /// Checkpoint tensors whose names begin with `prefix`, renamed without it. Values keep the
    /// whole name.
    pub fn tensors(&self, prefix: &str) -> Vec<SynthTensor> {
        let all = self.json["tensors"].as_object().expect("a map of tensors");
        let named = all.iter().filter_map(|(name, rule)| {
            let short = name.strip_prefix(prefix)?;
            let source = rule["same_as"].as_str().unwrap_or(name);
            Some(tensor(short, source, &all[source]))
        });
        named.collect()
    }

    /// An input by the value rule, or its literal values.
    pub fn input(&self, name: &str) -> ArrayD<f32> {
        let rule = &self.json["inputs"][name];
        let SynthTensor { shape, values, .. } = tensor(name, &format!("input:{name}"), rule);
        let mut data = vec![0.0; shape.iter().product()];
        values.fill(0, &mut data);
        if rule["dtype"] == "u8" {
            data.iter_mut().for_each(|x| *x = x.round_ties_even().clamp(0.0, 255.0));
        }
        ArrayD::from_shape_vec(IxDyn(&shape), data).expect("as many values as the shape says")
    }

    /// Literal integers of an input.
    pub fn integers(&self, name: &str) -> Vec<i64> {
        let values = self.json["inputs"][name]["values"].as_array().expect("literal values");
        values.iter().filter_map(Value::as_i64).collect()
    }

    /// An output of `<case>.safetensors`, f32 or u8, as f32.
    pub fn output<D: Dimension>(&self, name: &str) -> Array<f32, D> {
        let bytes = read(&format!("{}.safetensors", self.case));
        let all = SafeTensors::deserialize(&bytes).expect("goldens are safetensors");
        let tensor = all.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let values: Vec<f32> = match tensor.dtype() {
            Dtype::U8 => tensor.data().iter().map(|&x| f32::from(x)).collect(),
            _ => {
                let words = tensor.data().chunks_exact(4);
                words.map(|w| f32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect()
            }
        };
        let array = ArrayD::from_shape_vec(IxDyn(tensor.shape()), values).expect("a dense tensor");
        array.into_dimensionality().unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

fn read(name: &str) -> Vec<u8> {
    let path = Golden::folder().join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn tensor(name: &str, source: &str, rule: &Value) -> SynthTensor {
    let number = |key: &str| rule[key].as_f64().unwrap_or_else(|| panic!("{name}: no {key}"));
    let shape = rule["shape"].as_array().expect("a shape").iter();
    SynthTensor {
        name: name.into(),
        shape: shape.filter_map(|n| n.as_u64().map(|n| n as usize)).collect(),
        values: Values {
            name: source.into(),
            mean: number("mean"),
            std: number("std"),
            heavy_tail: false,
        },
    }
}
