//! Groups of layers that are switched to FP8 as one: the linear layers of some neighbouring blocks of
//! an expert, their attentions, or all linear layers of another submodule.

use std::collections::{BTreeMap, BTreeSet};

use crate::{CalibrationTable, Numbers, Policy, Rule, pattern};

/// Stems of the experts, which run once for every step and branch. What runs once a request, their
/// contexts too, is a group whole: it costs little time, and guidance multiplies its error.
const EXPERTS: [&str; 2] = ["transformer", "transformer_2"];

/// Layers that are switched to FP8 as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Such as `transformer_2 blocks.3 attention`, or `transformer_2 blocks.0-5 attention`.
    pub name: String,
    submodule: String,
    /// Patterns of its layers.
    paths: Vec<String>,
    /// Whether they are rules for attentions.
    attention: bool,
}

impl Group {
    /// Stem of the submodule whose layers these are.
    pub fn submodule(&self) -> &str {
        &self.submodule
    }
}

/// The groups of everything that `table` has measured and `all-fp8-attention` puts in FP8: at most
/// `most`, where bands of neighbouring blocks can be made so wide, each with as many as the others.
pub fn groups(table: &CalibrationTable, most: usize) -> Vec<Group> {
    let all = Policy::named("all-fp8-attention").expect("invariant: it is one of the names");
    // The length of the stack counts for `last(n)` only, which this policy lacks.
    let linears = paths(&table.submodules)
        .filter(|(stem, path)| all.numbers(stem, path, 0) == Numbers::Fp8)
        .filter_map(|(stem, path)| key(stem, path, false));
    let attentions = paths(&table.attention)
        .filter(|(stem, path)| all.attention(stem, path, 0) == Numbers::Fp8)
        .filter_map(|(stem, path)| key(stem, path, true));
    let keys: BTreeSet<Key<'_>> = linears.chain(attentions).collect();
    let stack: BTreeSet<usize> = keys.iter().filter_map(|key| key.block).collect();
    let stack: Vec<usize> = stack.into_iter().collect();
    let banded = |width: usize| -> BTreeSet<Band<'_>> {
        keys.iter().map(|key| key.band(&stack, width)).collect()
    };
    let widest = stack.len().max(1);
    let width = (1..widest).find(|&width| banded(width).len() <= most).unwrap_or(widest);
    banded(width).iter().map(|band| band.group(&all)).collect()
}

/// Submodule and path of every entry of one half of a table.
fn paths<T>(entries: &BTreeMap<String, BTreeMap<String, T>>) -> impl Iterator<Item = (&str, &str)> {
    entries.iter().flat_map(|(stem, layers)| layers.keys().map(move |path| (&**stem, &**path)))
}

/// Where a layer belongs.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    /// Stem of the submodule.
    owner: &'a str,
    /// Block of an expert.
    block: Option<usize>,
    attention: bool,
}

/// What a group is known by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Band<'a> {
    owner: &'a str,
    /// Neighbouring blocks of an expert; none for any other submodule.
    blocks: &'a [usize],
    attention: bool,
}

/// `None` for a layer of an expert that is in no block: a table may be made up.
fn key<'a>(stem: &'a str, path: &str, attention: bool) -> Option<Key<'a>> {
    if !EXPERTS.contains(&stem) {
        return Some(Key { owner: stem, block: None, attention });
    }
    let block = path.strip_prefix("blocks.")?.split('.').next()?.parse().ok()?;
    Some(Key { owner: stem, block: Some(block), attention })
}

impl<'a> Key<'a> {
    /// The band that it is in, of those that cut `stack` into `width` blocks each.
    fn band<'b>(&self, stack: &'b [usize], width: usize) -> Band<'b>
    where
        'a: 'b,
    {
        let around = |block| stack.chunks(width).find(|blocks| blocks.contains(&block));
        let blocks = self.block.and_then(around).unwrap_or_default();
        Band { owner: self.owner, blocks, attention: self.attention }
    }
}

impl Band<'_> {
    fn group(&self, all: &Policy) -> Group {
        let whole = || {
            let of_owner = |rule: &&Rule| pattern::matches(&rule.submodule, self.owner, 0);
            all.rules.iter().find(of_owner).map(|rule| rule.path.clone())
        };
        let paths: Vec<String> = match self.blocks {
            [] => whole().into_iter().collect(),
            blocks => blocks.iter().map(|block| format!("blocks.{block}.**")).collect(),
        };
        let kind = if self.attention { "attention" } else { "linears" };
        let owner = self.owner;
        let name = match self.blocks {
            [] => format!("{owner} {kind}"),
            [block] => format!("{owner} blocks.{block} {kind}"),
            [first, .., last] => format!("{owner} blocks.{first}-{last} {kind}"),
        };
        Group { name, submodule: owner.into(), paths, attention: self.attention }
    }
}

impl Policy {
    /// FP8 in `groups`, bf16 elsewhere.
    pub fn of_groups<'a>(name: &str, groups: impl IntoIterator<Item = &'a Group>) -> Self {
        let (attention, linears): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group| group.attention);
        let rule = |group: &Group, path: &String| Rule {
            submodule: group.submodule.clone(),
            path: path.clone(),
            numbers: Numbers::Fp8,
        };
        let rules = |groups: Vec<&'a Group>| {
            let of = |group: &'a Group| group.paths.iter().map(move |path| rule(group, path));
            groups.into_iter().flat_map(of).collect()
        };
        Self { name: name.into(), rules: rules(linears), attention: rules(attention) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Amax, AttentionAmax, Method, TABLE_SCHEMA};

    pub(crate) fn table() -> CalibrationTable {
        let amax = Amax { input: 1.0, weight: 1.0 };
        let layers = |paths: &[&str]| paths.iter().map(|path| (path.to_string(), amax)).collect();
        let attention = AttentionAmax { q: 1.0, k: 1.0, v: 1.0, center_keys: false };
        CalibrationTable {
            schema: TABLE_SCHEMA,
            source: "ab".into(),
            cases: vec![],
            method: Method::Amax,
            submodules: BTreeMap::from([
                ("text_encoder".into(), layers(&["encoder.block.0.layer.0.SelfAttention.q"])),
                (
                    "transformer_2".into(),
                    layers(&["blocks.0.ffn.net.2", "blocks.11.attn1.to_q", "proj_out"]),
                ),
                ("transformer_2_context".into(), layers(&["blocks.0.attn2.to_k"])),
                ("vision".into(), layers(&["blocks.0.attn.qkv"])),
            ]),
            attention: BTreeMap::from([(
                "transformer_2".into(),
                BTreeMap::from([("blocks.0.attn1".into(), attention)]),
            )]),
            balance: BTreeMap::new(),
            branches: BTreeMap::new(),
        }
    }

    #[test]
    fn what_was_measured_falls_into_blocks_and_stacks() {
        let groups = groups(&table(), 99);
        let names: Vec<_> = groups.iter().map(|group| group.name.as_str()).collect();
        let expected = [
            "text_encoder linears",
            "transformer_2 blocks.0 linears",
            "transformer_2 blocks.0 attention",
            "transformer_2 blocks.11 linears",
            "transformer_2_context linears",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_policy_of_groups_puts_them_in_fp8_and_nothing_else() {
        let groups = groups(&table(), 99);
        let policy = Policy::of_groups("mine", &groups[1..3]);
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(Policy::parse(&text).unwrap(), policy);
        for (stem, path, fp8) in [
            ("transformer_2", "blocks.0.ffn.net.2", true),
            ("transformer_2_context", "blocks.0.attn2.to_k", false),
            ("transformer_2", "blocks.11.attn1.to_q", false),
            ("transformer", "blocks.0.ffn.net.2", false),
            ("transformer_2", "proj_out", false),
            ("text_encoder", "encoder.block.0.layer.0.SelfAttention.q", false),
        ] {
            assert_eq!(policy.numbers(stem, path, 40) == Numbers::Fp8, fp8, "{stem} {path}");
        }
        assert_eq!(policy.attention("transformer_2", "blocks.0.attn1", 40), Numbers::Fp8);
        assert_eq!(policy.attention("transformer_2", "blocks.11.attn1", 40), Numbers::Bf16);
        let contexts = Policy::of_groups("contexts", &groups[4..]);
        for (path, fp8) in [("blocks.0.attn2.to_k", true), ("condition_embedder.text", false)] {
            let numbers = contexts.numbers("transformer_2_context", path, 40);
            assert_eq!(numbers == Numbers::Fp8, fp8, "{path}");
        }
    }

    #[test]
    fn too_many_groups_become_bands_of_neighbouring_blocks() {
        let amax = Amax { input: 1.0, weight: 1.0 };
        let attention = AttentionAmax { q: 1.0, k: 1.0, v: 1.0, center_keys: false };
        let mut table = table();
        for expert in ["transformer", "transformer_2"] {
            let path = |block| format!("blocks.{block}.attn1");
            let linears = (0..40).map(|block| (format!("{}.to_q", path(block)), amax));
            table.submodules.insert(expert.into(), linears.collect());
            let attentions = (0..40).map(|block| (path(block), attention));
            table.attention.insert(expert.into(), attentions.collect());
        }
        assert_eq!(groups(&table, 162).len(), 162);
        // The text encoder, a context, and bands of six blocks.
        let bands = groups(&table, 32);
        assert_eq!(bands.len(), 2 + 4 * 7);
        let names: Vec<_> = bands.iter().map(|group| group.name.as_str()).collect();
        assert!(names.contains(&"transformer_2 blocks.0-5 attention"), "{names:?}");
        assert!(names.contains(&"transformer blocks.36-39 linears"), "{names:?}");
        let policy = Policy::of_groups("bands", &bands);
        for block in 0..40 {
            let path = format!("blocks.{block}.attn1");
            assert_eq!(policy.attention("transformer", &path, 40), Numbers::Fp8, "{path}");
        }
        // No band can be wider than the stack.
        assert_eq!(groups(&table, 1).len(), 6);
    }
}
