//! Groups of layers that are switched to FP8 as one: the linear layers of some neighbouring blocks of
//! an expert, their attentions, or all linear layers of another submodule.

use std::collections::{BTreeMap, BTreeSet};

use crate::{CalibrationTable, Numbers, Policy, Rule};

/// The experts' stems, and those of their context graphs, begin with it.
const EXPERT: &str = "transformer";
/// Ends the stem of an expert's context graph, whose layers belong to the expert's blocks.
const CONTEXT: &str = "_context";

/// Layers that are switched to FP8 as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Such as `transformer_2 blocks.3 attention`, or `transformer_2 blocks.0-5 attention`.
    pub name: String,
    /// Rules that put it in FP8, each for one submodule named in full.
    rules: Vec<Rule>,
    /// Whether they are rules for attentions.
    attention: bool,
}

impl Group {
    /// Stems of the submodules that have layers of it.
    pub fn submodules(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.submodule.as_str())
    }
}

/// The groups of everything that `table` has measured and `all-fp8-attention` puts in FP8: at most
/// `most`, where bands of neighbouring blocks can be made so wide, each with as many as the others.
pub fn groups(table: &CalibrationTable, most: usize) -> Vec<Group> {
    let all = Policy::named("all-fp8-attention").expect("invariant: it is one of the names");
    // The length of the stack counts for `last(n)` only, which this policy lacks.
    let linears = paths(&table.submodules)
        .filter(|(stem, path)| all.numbers(stem, path, 0) == Numbers::Fp8)
        .filter_map(|(stem, path)| Some((key(stem, path, false)?, stem)));
    let attentions = paths(&table.attention)
        .filter(|(stem, path)| all.attention(stem, path, 0) == Numbers::Fp8)
        .filter_map(|(stem, path)| Some((key(stem, path, true)?, stem)));
    let mut stems: BTreeMap<Key<'_>, BTreeSet<&str>> = BTreeMap::new();
    for (key, stem) in linears.chain(attentions) {
        stems.entry(key).or_default().insert(stem);
    }
    let stack: BTreeSet<usize> = stems.keys().filter_map(|key| key.block).collect();
    let stack: Vec<usize> = stack.into_iter().collect();
    let banded = |width: usize| {
        let mut bands: BTreeMap<Band<'_>, BTreeSet<&str>> = BTreeMap::new();
        for (key, stems) in &stems {
            bands.entry(key.band(&stack, width)).or_default().extend(stems);
        }
        bands
    };
    let widest = stack.len().max(1);
    let width = (1..widest).find(|&width| banded(width).len() <= most).unwrap_or(widest);
    banded(width).iter().map(|(band, stems)| band.group(stems, &all)).collect()
}

/// Submodule and path of every entry of one half of a table.
fn paths<T>(entries: &BTreeMap<String, BTreeMap<String, T>>) -> impl Iterator<Item = (&str, &str)> {
    entries.iter().flat_map(|(stem, layers)| layers.keys().map(move |path| (&**stem, &**path)))
}

/// Where a layer belongs.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    /// Stem of an expert, or of any other submodule.
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
    if !stem.starts_with(EXPERT) {
        return Some(Key { owner: stem, block: None, attention });
    }
    let owner = stem.strip_suffix(CONTEXT).unwrap_or(stem);
    let block = path.strip_prefix("blocks.")?.split('.').next()?.parse().ok()?;
    Some(Key { owner, block: Some(block), attention })
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
    fn group(&self, stems: &BTreeSet<&str>, all: &Policy) -> Group {
        let stack = all.rules.iter().find(|rule| rule.submodule == self.owner);
        let paths: Vec<String> = match (self.blocks, stack) {
            ([], Some(rule)) => vec![rule.path.clone()],
            ([], None) => vec!["**".into()],
            (blocks, _) => blocks.iter().map(|block| format!("blocks.{block}.**")).collect(),
        };
        let rule = |stem: &str, path: &String| Rule {
            submodule: stem.to_string(),
            path: path.clone(),
            numbers: Numbers::Fp8,
        };
        let rules = stems.iter().flat_map(|stem| paths.iter().map(move |path| rule(stem, path)));
        let kind = if self.attention { "attention" } else { "linears" };
        let owner = self.owner;
        let name = match self.blocks {
            [] => format!("{owner} {kind}"),
            [block] => format!("{owner} blocks.{block} {kind}"),
            [first, .., last] => format!("{owner} blocks.{first}-{last} {kind}"),
        };
        Group { name, rules: rules.collect(), attention: self.attention }
    }
}

impl Policy {
    /// FP8 in `groups`, bf16 elsewhere.
    pub fn of_groups<'a>(name: &str, groups: impl IntoIterator<Item = &'a Group>) -> Self {
        let (attention, linears): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group| group.attention);
        let rules = |groups: Vec<&Group>| {
            groups.into_iter().flat_map(|group| group.rules.iter().cloned()).collect()
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
        ];
        assert_eq!(names, expected);
        let stems: Vec<_> = groups[1].submodules().collect();
        assert_eq!(stems, ["transformer_2", "transformer_2_context"]);
    }

    #[test]
    fn a_policy_of_groups_puts_them_in_fp8_and_nothing_else() {
        let groups = groups(&table(), 99);
        let policy = Policy::of_groups("mine", &groups[1..3]);
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(Policy::parse(&text).unwrap(), policy);
        for (stem, path, fp8) in [
            ("transformer_2", "blocks.0.ffn.net.2", true),
            ("transformer_2_context", "blocks.0.attn2.to_k", true),
            ("transformer_2", "blocks.11.attn1.to_q", false),
            ("transformer", "blocks.0.ffn.net.2", false),
            ("transformer_2", "proj_out", false),
            ("text_encoder", "encoder.block.0.layer.0.SelfAttention.q", false),
        ] {
            assert_eq!(policy.numbers(stem, path, 40) == Numbers::Fp8, fp8, "{stem} {path}");
        }
        assert_eq!(policy.attention("transformer_2", "blocks.0.attn1", 40), Numbers::Fp8);
        assert_eq!(policy.attention("transformer_2", "blocks.11.attn1", 40), Numbers::Bf16);
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
        assert_eq!(groups(&table, 161).len(), 161);
        // The text encoder, and bands of six blocks.
        let bands = groups(&table, 32);
        assert_eq!(bands.len(), 1 + 4 * 7);
        let names: Vec<_> = bands.iter().map(|group| group.name.as_str()).collect();
        assert!(names.contains(&"transformer_2 blocks.0-5 attention"), "{names:?}");
        assert!(names.contains(&"transformer blocks.36-39 linears"), "{names:?}");
        let policy = Policy::of_groups("bands", &bands);
        for block in 0..40 {
            let path = format!("blocks.{block}.attn1");
            assert_eq!(policy.attention("transformer", &path, 40), Numbers::Fp8, "{path}");
        }
        // No band can be wider than the stack.
        assert_eq!(groups(&table, 1).len(), 5);
    }
}
