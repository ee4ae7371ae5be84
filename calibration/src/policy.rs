//! Which linear layers and which attentions run in FP8: two lists of rules, first match wins.

use serde::{Deserialize, Serialize};

use crate::pattern;

/// The numbers that a layer computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// bf16 operands.
    Bf16,
    /// E4M3 operands.
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

/// Named lists of rules; what none matches stays bf16.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Name that speed figures carry.
    pub name: String,
    /// Rules for linear layers in order of precedence.
    pub rules: Vec<Rule>,
    /// Rules for the products of attentions, whose path is that of the scope (`blocks.3.attn1`).
    #[serde(default)]
    pub attention: Vec<Rule>,
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
    pub const NAMES: [&'static str; 4] =
        ["default", "all-fp8", "default-attention", "all-fp8-attention"];

    /// `default`: linear layers of the planner's language model and of all blocks but each expert's
    /// first and last three. `all-fp8`: those of every block, of the graphs that make the keys and
    /// values of cross attention, and of the text encoder. Whatever lies outside the blocks (patch
    /// and text embedding, `proj_out`), vision tower, connector, flow head and VAE stay bf16 in both.
    /// `default-attention`, `all-fp8-attention`: the same, and both attentions of the same blocks of
    /// the experts.
    ///
    /// Text encoder and contexts run once a request, and in FP8 they alone spend more than the budget
    /// of a guided step: guidance multiplies what differs between prompts (bench/results).
    pub fn named(name: &str) -> Result<Self, PolicyError> {
        let once_a_request = [
            ("transformer_context", "blocks.**", Numbers::Bf16),
            ("transformer_2_context", "blocks.**", Numbers::Bf16),
            ("text_encoder", "encoder.block.**", Numbers::Bf16),
        ];
        let ends = [
            ("transformer*", "blocks.first(3).**", Numbers::Bf16),
            ("transformer*", "blocks.last(3).**", Numbers::Bf16),
        ];
        let experts = ("transformer*", "blocks.**", Numbers::Fp8);
        let fast = [
            experts,
            ("text_encoder", "encoder.block.**", Numbers::Fp8),
            ("planner_lm", "model.layers.**", Numbers::Fp8),
        ];
        let (once_a_request, ends): (&[_], &[_]) = match name {
            "default" | "default-attention" => (&once_a_request, &ends),
            "all-fp8" | "all-fp8-attention" => (&[], &[]),
            _ => {
                let (expected, found) = (Self::NAMES.join(", "), name.into());
                return Err(PolicyError::Unknown { expected, found });
            }
        };
        let attention = match name.ends_with("-attention") {
            true => [ends, &[experts]].concat(),
            false => vec![],
        };
        let rule = |(submodule, path, numbers): (&str, &str, _)| Rule {
            submodule: submodule.into(),
            path: path.into(),
            numbers,
        };
        let rules = [once_a_request, ends, &fast].concat().into_iter().map(rule).collect();
        let attention = attention.into_iter().map(rule).collect();
        Ok(Self { name: name.into(), rules, attention })
    }

    /// A policy from its JSON form.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let json = |e: serde_json::Error| PolicyError::Json { reason: e.to_string() };
        let policy: Self = serde_json::from_str(text).map_err(json)?;
        let rules = policy.rules.iter().chain(&policy.attention);
        for pattern in rules.flat_map(|rule| [&rule.submodule, &rule.path]) {
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
        first(&self.rules, submodule, path, layers)
    }

    /// What the products of the attention at `path` of `submodule` compute with.
    pub fn attention(&self, submodule: &str, path: &str, layers: usize) -> Numbers {
        first(&self.attention, submodule, path, layers)
    }
}

/// What the first of `rules` that matches says.
fn first(rules: &[Rule], submodule: &str, path: &str, layers: usize) -> Numbers {
    let rule = rules.iter().find(|rule| {
        pattern::matches(&rule.submodule, submodule, layers)
            && pattern::matches(&rule.path, path, layers)
    });
    rule.map_or(Numbers::Bf16, |rule| rule.numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_keeps_the_ends_of_the_experts_and_what_runs_once_and_all_fp8_does_not() {
        let [default, all, ..] = Policy::NAMES.map(|name| Policy::named(name).unwrap());
        for (i, kept) in [(0, true), (2, true), (3, false), (36, false), (37, true), (39, true)] {
            let path = format!("blocks.{i}.ffn.net.2");
            for submodule in ["transformer", "transformer_2"] {
                let numbers = default.numbers(submodule, &path, 40);
                assert_eq!(numbers == Numbers::Bf16, kept, "{submodule} {path}");
                assert_eq!(all.numbers(submodule, &path, 40), Numbers::Fp8);
            }
        }
        for (submodule, path, layers) in [
            ("text_encoder", "encoder.block.9.layer.0.SelfAttention.q", 24),
            ("transformer_context", "blocks.9.attn2.to_k", 40),
            ("transformer_2_context", "blocks.9.attn2.to_v", 40),
        ] {
            assert_eq!(default.numbers(submodule, path, layers), Numbers::Bf16, "{submodule}");
            assert_eq!(all.numbers(submodule, path, layers), Numbers::Fp8, "{submodule}");
        }
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
    fn attention_runs_in_fp8_only_where_the_policy_names_it() {
        for (name, first, middle) in [
            ("default", Numbers::Bf16, Numbers::Bf16),
            ("all-fp8", Numbers::Bf16, Numbers::Bf16),
            ("default-attention", Numbers::Bf16, Numbers::Fp8),
            ("all-fp8-attention", Numbers::Fp8, Numbers::Fp8),
        ] {
            let policy = Policy::named(name).unwrap();
            for (block, expected) in [(0, first), (3, middle), (36, middle), (37, first)] {
                for attention in ["attn1", "attn2"] {
                    let path = format!("blocks.{block}.{attention}");
                    assert_eq!(policy.attention("transformer_2", &path, 40), expected, "{name}");
                }
            }
            assert_eq!(policy.attention("text_encoder", "encoder.block.0", 24), Numbers::Bf16);
            let linears = Policy::named(name.trim_end_matches("-attention")).unwrap();
            assert_eq!(policy.rules, linears.rules);
        }
    }

    #[test]
    fn a_policy_without_a_word_on_attention_leaves_it_in_bf16() {
        let policy = Policy::parse(r#"{"name": "mine", "rules": []}"#).unwrap();
        assert_eq!(policy.attention("transformer", "blocks.9.attn1", 40), Numbers::Bf16);
    }

    #[test]
    fn json_round_trips_and_refuses_what_it_does_not_know() {
        let policy = Policy::named("default-attention").unwrap();
        let text = serde_json::to_string_pretty(&policy).unwrap();
        assert_eq!(Policy::parse(&text).unwrap(), policy);
        let unknown = text.replacen("\"name\"", "\"speed\": 1, \"name\"", 1);
        assert!(matches!(Policy::parse(&unknown), Err(PolicyError::Json { .. })));
        let malformed = text.replacen("first(3)", "first(three)", 1);
        assert!(matches!(Policy::parse(&malformed), Err(PolicyError::Pattern { .. })));
        let (rules, attention) = text.split_once("\"attention\"").unwrap();
        let malformed = [rules, &attention.replacen("last(3)", "last()", 1)].join("\"attention\"");
        assert!(matches!(Policy::parse(&malformed), Err(PolicyError::Pattern { .. })));
        assert!(matches!(Policy::named("fastest"), Err(PolicyError::Unknown { .. })));
    }
}
