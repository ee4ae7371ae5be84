//! Which linear layers run in FP8: a list of rules, first match wins.

use serde::{Deserialize, Serialize};

use crate::pattern;

/// The numbers that a linear layer computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// bf16 weights and activations.
    Bf16,
    /// E4M3 weights and activations through Q/DQ.
    Fp8,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Pattern of the submodule's stem, such as `transformer*`.
    pub submodule: String,
    /// Pattern of the layer's path, such as `blocks.first(3).**`.
    pub path: String,
    /// What the layers that match compute with.
    pub numbers: Numbers,
}

/// A named list of rules; a layer that none matches stays bf16.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Name that speed figures carry.
    pub name: String,
    /// Rules in order of precedence.
    pub rules: Vec<Rule>,
}

/// A policy that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The text is not a policy.
    #[error("FP8 policy: {reason}; give an object with name and rules")]
    Json {
        /// What the parser says.
        reason: String,
    },
    /// A rule's pattern is malformed.
    #[error("FP8 policy {policy}: pattern {pattern:?}: expected {expected}; correct the pattern")]
    Pattern {
        /// Name of the policy.
        policy: String,
        /// The pattern.
        pattern: String,
        /// What a pattern looks like.
        expected: &'static str,
    },
    /// There is no policy of that name.
    #[error("FP8 policy: expected one of {expected}, found {found:?}; name one of them")]
    Unknown {
        /// The names there are.
        expected: String,
        /// The name given.
        found: String,
    },
}

impl Policy {
    /// Names that [`Policy::named`] knows.
    pub const NAMES: [&'static str; 2] = ["default", "all-fp8"];

    /// `default`: linear layers of the planner's language model, of the text encoder and of all
    /// blocks but each expert's first and last three. `all-fp8`: those of every block. Whatever lies outside the blocks (patch
    /// and text embedding, `proj_out`), vision tower, connector, flow head and VAE stay bf16 in both.
    pub fn named(name: &str) -> Result<Self, PolicyError> {
        let kept = [
            ("transformer*", "blocks.first(3).**", Numbers::Bf16),
            ("transformer*", "blocks.last(3).**", Numbers::Bf16),
        ];
        let fast = [
            ("transformer*", "blocks.**", Numbers::Fp8),
            ("text_encoder", "encoder.block.**", Numbers::Fp8),
            ("planner_lm", "model.layers.**", Numbers::Fp8),
        ];
        let rules: Vec<_> = match name {
            "default" => kept.into_iter().chain(fast).collect(),
            "all-fp8" => fast.into(),
            _ => {
                let (expected, found) = (Self::NAMES.join(", "), name.into());
                return Err(PolicyError::Unknown { expected, found });
            }
        };
        let rule = |(submodule, path, numbers): (&str, &str, _)| Rule {
            submodule: submodule.into(),
            path: path.into(),
            numbers,
        };
        Ok(Self { name: name.into(), rules: rules.into_iter().map(rule).collect() })
    }

    /// A policy from its JSON form.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let json = |e: serde_json::Error| PolicyError::Json { reason: e.to_string() };
        let policy: Self = serde_json::from_str(text).map_err(json)?;
        for pattern in policy.rules.iter().flat_map(|rule| [&rule.submodule, &rule.path]) {
            if let Some(expected) = pattern::problem(pattern) {
                let (policy, pattern) = (policy.name.clone(), pattern.clone());
                return Err(PolicyError::Pattern { policy, pattern, expected });
            }
        }
        Ok(policy)
    }

    /// What the linear layer at `path` of `submodule` computes with; `layers` is the length of
    /// the submodule's stack, which `last(n)` counts from.
    pub fn numbers(&self, submodule: &str, path: &str, layers: usize) -> Numbers {
        let rule = self.rules.iter().find(|rule| {
            pattern::matches(&rule.submodule, submodule, layers)
                && pattern::matches(&rule.path, path, layers)
        });
        rule.map_or(Numbers::Bf16, |rule| rule.numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_keeps_the_ends_of_the_experts_and_all_fp8_does_not() {
        let [default, all] = Policy::NAMES.map(|name| Policy::named(name).unwrap());
        for (i, kept) in [(0, true), (2, true), (3, false), (36, false), (37, true), (39, true)] {
            let path = format!("blocks.{i}.ffn.net.2");
            for submodule in ["transformer", "transformer_2", "transformer_2_context"] {
                let numbers = default.numbers(submodule, &path, 40);
                assert_eq!(numbers == Numbers::Bf16, kept, "{submodule} {path}");
                assert_eq!(all.numbers(submodule, &path, 40), Numbers::Fp8);
            }
        }
        let encoder = "encoder.block.0.layer.0.SelfAttention.q";
        assert_eq!(default.numbers("text_encoder", encoder, 24), Numbers::Fp8);
        let planner = "model.layers.0.mlp.down_proj";
        assert_eq!(default.numbers("planner_lm", planner, 27), Numbers::Fp8);
        for (submodule, path) in [("vision", "blocks.0.attn.qkv"), ("proj_gen", "proj_gen.0")] {
            assert_eq!(all.numbers(submodule, path, 32), Numbers::Bf16, "{submodule}");
        }
        for path in ["proj_out", "condition_embedder.text_embedder.linear_1"] {
            assert_eq!(all.numbers("transformer", path, 40), Numbers::Bf16);
        }
        assert_eq!(all.numbers("vae_decoder_next", "blocks.0.conv1", 4), Numbers::Bf16);
    }

    #[test]
    fn json_round_trips_and_refuses_what_it_does_not_know() {
        let policy = Policy::named("default").unwrap();
        let text = serde_json::to_string_pretty(&policy).unwrap();
        assert_eq!(Policy::parse(&text).unwrap(), policy);
        let unknown = text.replacen("\"name\"", "\"speed\": 1, \"name\"", 1);
        assert!(matches!(Policy::parse(&unknown), Err(PolicyError::Json { .. })));
        let malformed = text.replacen("first(3)", "first(three)", 1);
        assert!(matches!(Policy::parse(&malformed), Err(PolicyError::Pattern { .. })));
        assert!(matches!(Policy::named("fastest"), Err(PolicyError::Unknown { .. })));
    }
}
