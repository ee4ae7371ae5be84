//! Calibration tables: the magnitudes that linear layers and attentions meet, as FP8 scales need them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Method;
use crate::balance::{Balance, MAX_EXPONENT};

/// Largest finite E4M3 value.
pub const E4M3_MAX: f32 = 448.0;
/// Version of the table's schema; a reader refuses any other.
pub const TABLE_SCHEMA: u32 = 4;
/// Longest table that is read, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// Magnitudes of one linear layer that the largest E4M3 value stands for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amax {
    /// Of the activations that enter it, by the table's method.
    pub input: f32,
    /// Of its weight: the largest.
    pub weight: f32,
}

impl Amax {
    /// Constants for speed and parsing only: no measurement stands behind them.
    pub const SYNTHETIC: Self = Self { input: 8.0, weight: 0.1 };

    /// `(input, weight)` scales: real value = scale × E4M3 value.
    pub fn scales(self) -> (f32, f32) {
        (self.input / E4M3_MAX, self.weight / E4M3_MAX)
    }
}

/// Magnitudes of one attention, as its products meet them, that the largest E4M3 value stands for,
/// by the table's method.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionAmax {
    /// Of the queries after norm and rotation.
    pub q: f32,
    /// Of the keys after norm and rotation; with `center_keys` also of those less their mean.
    pub k: f32,
    /// Of the values.
    pub v: f32,
    /// Whether FP8 attention subtracts their mean over tokens before it rounds them: self attention
    /// only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub center_keys: bool,
}

impl AttentionAmax {
    /// Constants for speed and parsing only: no measurement stands behind them.
    pub const SYNTHETIC: Self = Self { q: 8.0, k: 8.0, v: 8.0, center_keys: false };

    /// `[q, k, v]` scales: real value = scale × E4M3 value.
    pub fn scales(self) -> [f32; 3] {
        [self.q, self.k, self.v].map(|amax| amax / E4M3_MAX)
    }
}

/// amax per linear layer and attention, and where the numbers come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationTable {
    /// [`TABLE_SCHEMA`].
    pub schema: u32,
    /// Fingerprint of the checkpoint, as in `export.json`.
    pub source: String,
    /// The cases whose trajectories were measured.
    pub cases: Vec<String>,
    /// How the magnitudes of activations were chosen. Those of a re-balanced attention are the
    /// largest ones: factors move its channels, and take away what there was to win.
    pub method: Method,
    /// Submodule stem → path of a linear layer → amax.
    pub submodules: BTreeMap<String, BTreeMap<String, Amax>>,
    /// Submodule stem → path of an attention → amax.
    pub attention: BTreeMap<String, BTreeMap<String, AttentionAmax>>,
    /// Stem of an expert → path of an attention → factors that its weights, those of the context's
    /// graph too, take at export. All amax values are those behind these factors.
    pub balance: BTreeMap<String, BTreeMap<String, Balance>>,
    /// Where the scales of experts come from: stem → path of a linear layer, or of an attention and
    /// `q`, `k` or `v` → guidance branch → the largest magnitude met, before choice and factors.
    /// A scale serves all branches, as the engine does.
    pub branches: BTreeMap<String, BTreeMap<String, BTreeMap<String, f32>>>,
}

/// What tables of every version have.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// A table that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TableError {
    /// Longer than any table.
    #[error("calibration table: expected at most {limit} bytes, found {found}; give a table")]
    TooLong {
        /// Limit in bytes.
        limit: usize,
        /// Length in bytes.
        found: usize,
    },
    /// Not the JSON of a table.
    #[error("calibration table: {reason}; make it anew with `bernini calibrate`")]
    Json {
        /// What the parser says.
        reason: String,
    },
    /// Written by another version.
    #[error("calibration table: expected schema {TABLE_SCHEMA}, found {found}; make it anew")]
    Schema {
        /// The table's schema.
        found: u32,
    },
    /// An amax that no layer has.
    #[error(
        "calibration table: {submodule} {path} {field}: expected a finite number above 0, found \
         {found}; make the table anew"
    )]
    Amax {
        /// Stem of the submodule.
        submodule: String,
        /// Path of the layer.
        path: String,
        /// `input`, `weight`, `q`, `k` or `v`.
        field: &'static str,
        /// The value.
        found: f32,
    },
    /// A factor that no calibration chooses.
    #[error(
        "calibration table: {submodule} {path} balance: expected exponents from -{MAX_EXPONENT} to \
         {MAX_EXPONENT}, found {found}; make the table anew"
    )]
    Exponent {
        /// Stem of the submodule.
        submodule: String,
        /// Path of the attention.
        path: String,
        /// The exponent.
        found: i8,
    },
    /// A share of values that is none.
    #[error("calibration: expected a percentile above 0 and up to 100, found {found}")]
    Percentile {
        /// The percentile.
        found: f64,
    },
    /// Nothing to choose from but the largest magnitude.
    #[error(
        "calibration: {submodule} {path}: expected counts and errors of its values, found none;          export with `--taps statistics`, or choose `--method amax`"
    )]
    NoSums {
        /// Stem of the submodule.
        submodule: String,
        /// Path of the layer.
        path: String,
    },
    /// Factors for tensors of another size, or that the checkpoint lacks.
    #[error(
        "calibration table: {submodule} {path} balance: expected {expected} channels, found \
         {found}; calibrate this checkpoint"
    )]
    Channels {
        /// Stem of the submodule.
        submodule: String,
        /// Path of the tensor.
        path: String,
        /// How many the checkpoint's tensor has; 0 where there is none.
        expected: usize,
        /// How many the table has.
        found: usize,
    },
    /// Made from another checkpoint.
    #[error(
        "calibration table: expected source {expected}, found {found}; calibrate this checkpoint"
    )]
    Source {
        /// Fingerprint of the checkpoint to export.
        expected: String,
        /// Fingerprint in the table.
        found: String,
    },
}

impl CalibrationTable {
    /// A table from its JSON form, checked.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        if text.len() > MAX_BYTES {
            return Err(TableError::TooLong { limit: MAX_BYTES, found: text.len() });
        }
        let json = |e: serde_json::Error| TableError::Json { reason: e.to_string() };
        // First of all the version: others have other fields.
        let Version { schema: found } = serde_json::from_str(text).map_err(json)?;
        if found != TABLE_SCHEMA {
            return Err(TableError::Schema { found });
        }
        let table: Self = serde_json::from_str(text).map_err(json)?;
        table.validate()?;
        Ok(table)
    }

    /// Refuses another schema, amax values that are not finite and positive, and impossible choices
    /// and factors.
    pub fn validate(&self) -> Result<(), TableError> {
        if self.schema != TABLE_SCHEMA {
            return Err(TableError::Schema { found: self.schema });
        }
        self.method.validate()?;
        for (submodule, layers) in &self.submodules {
            for (path, amax) in layers {
                check(submodule, path, &[("input", amax.input), ("weight", amax.weight)])?;
            }
        }
        for (submodule, attentions) in &self.attention {
            for (path, amax) in attentions {
                check(submodule, path, &[("q", amax.q), ("k", amax.k), ("v", amax.v)])?;
            }
        }
        for (submodule, balances) in &self.balance {
            for (path, balance) in balances {
                balance.validate(submodule, path)?;
            }
        }
        Ok(())
    }

    /// Refuses a table that was made from another checkpoint than `source`.
    pub fn check_source(&self, source: &str) -> Result<(), TableError> {
        if self.source == source {
            return Ok(());
        }
        Err(TableError::Source { expected: source.into(), found: self.source.clone() })
    }

    /// amax of the layer at `path` of `submodule`.
    pub fn amax(&self, submodule: &str, path: &str) -> Option<Amax> {
        self.submodules.get(submodule)?.get(path).copied()
    }

    /// amax of the attention at `path` of `submodule`.
    pub fn attention(&self, submodule: &str, path: &str) -> Option<AttentionAmax> {
        self.attention.get(submodule)?.get(path).copied()
    }
}

/// Refuses values that no scale can be made from.
fn check(submodule: &str, path: &str, fields: &[(&'static str, f32)]) -> Result<(), TableError> {
    match fields.iter().find(|(_, amax)| !(amax.is_finite() && *amax > 0.0)) {
        None => Ok(()),
        Some(&(field, found)) => {
            let (submodule, path) = (submodule.into(), path.into());
            Err(TableError::Amax { submodule, path, field, found })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(input: &str) -> String {
        format!(
            r#"{{"schema": 4, "source": "ab", "cases": ["t2v"], "method": {{"percentile": 99.99}},
                "submodules": {{"transformer": {{"blocks.3.ffn.net.2":
                {{"input": {input}, "weight": 0.25}}}}}},
                "attention": {{"transformer": {{"blocks.3.attn1":
                {{"q": 448, "k": 56, "v": 28}}}}}},
                "balance": {{"transformer": {{"blocks.3.attn1":
                {{"queries": [1, -2], "values": [0, 3]}}}}}},
                "branches": {{"transformer": {{"blocks.3.attn1.q": {{"none+negative": 9}}}}}}}}"#
        )
    }

    #[test]
    fn amax_becomes_a_scale() {
        let table = CalibrationTable::parse(&text("896")).unwrap();
        let amax = table.amax("transformer", "blocks.3.ffn.net.2").unwrap();
        assert_eq!(amax.scales(), (2.0, 0.25 / 448.0));
        assert_eq!(table.amax("transformer_2", "blocks.3.ffn.net.2"), None);
        let amax = table.attention("transformer", "blocks.3.attn1").unwrap();
        assert_eq!((amax.scales(), amax.center_keys), ([1.0, 0.125, 0.0625], false));
        let centered = text("896").replace("\"v\": 28", "\"v\": 28, \"center_keys\": true");
        let amax = CalibrationTable::parse(&centered).unwrap();
        assert!(amax.attention("transformer", "blocks.3.attn1").unwrap().center_keys);
        assert_eq!(table.attention("transformer", "blocks.3.attn2"), None);
    }

    #[test]
    fn impossible_numbers_name_their_layer() {
        for input in ["0", "-1", "1e39"] {
            let error = CalibrationTable::parse(&text(input)).unwrap_err();
            assert!(matches!(error, TableError::Amax { field: "input", .. }), "{error}");
            assert!(error.to_string().contains("blocks.3.ffn.net.2"));
        }
        let bad = text("1").replace("56", "-56");
        let error = CalibrationTable::parse(&bad).unwrap_err();
        assert!(matches!(error, TableError::Amax { field: "k", .. }), "{error}");
        assert!(error.to_string().contains("blocks.3.attn1"));
        let bad = text("1").replace("-2", "-25");
        let error = CalibrationTable::parse(&bad).unwrap_err();
        assert!(matches!(error, TableError::Exponent { found: -25, .. }), "{error}");
    }

    #[test]
    fn unknown_keys_schemas_and_sources_are_refused() {
        let good = text("1");
        let bad = good.replace("\"cases\"", "\"mode\": 1, \"cases\"");
        assert!(matches!(CalibrationTable::parse(&bad), Err(TableError::Json { .. })));
        let older = r#"{"schema": 3, "source": "ab", "cases": [], "submodules": {}}"#;
        assert_eq!(CalibrationTable::parse(older), Err(TableError::Schema { found: 3 }));
        for (method, error) in [("100.5", "percentile"), ("\"most\"", "invalid type")] {
            let bad = good.replace("99.99", method);
            let refused = CalibrationTable::parse(&bad).unwrap_err();
            assert!(refused.to_string().contains(error), "{refused}");
        }
        let bad = good.replace("percentile", "entropy");
        assert!(matches!(CalibrationTable::parse(&bad), Err(TableError::Json { .. })));
        let table = CalibrationTable::parse(&good).unwrap();
        assert_eq!(table.method, Method::Percentile(99.99));
        assert!(table.check_source("ab").is_ok());
        assert!(matches!(table.check_source("cd"), Err(TableError::Source { .. })));
    }
}
