//! Which layers can run in FP8 within an error budget: groups of layers, the order in which they
//! are worth it, and the longest part of that order which keeps the budget.
//!
//! A group is what is switched as one: the linear layers of a block of an expert, its attentions,
//! or all linear layers of another submodule. Roundings of different groups are independent, so
//! their errors add as squares: of groups that save equal work the one with the smaller square
//! comes first. That sum only says where to look; what counts is measured on all groups at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::{CalibrationTable, Numbers, Policy, Rule};

/// The experts' stems, and those of their context graphs, begin with it.
const EXPERT: &str = "transformer";
/// Ends the stem of an expert's context graph, whose layers belong to the expert's blocks.
const CONTEXT: &str = "_context";

/// Layers that are switched to FP8 as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Such as `transformer_2 blocks.3 attention`.
    pub name: String,
    /// Rules that put it in FP8, each for one submodule named in full.
    rules: Vec<Rule>,
    /// Whether they are rules for attentions.
    attention: bool,
}

/// What a group costs and saves.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensitivity {
    /// The group.
    pub group: Group,
    /// Relative L2 of every step with this group alone in FP8.
    pub errors: Vec<f64>,
    /// FLOPs of a request that run in FP8 with it.
    pub flops: f64,
}

impl Group {
    /// Stems of the submodules that have layers of it.
    pub fn submodules(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.submodule.as_str())
    }
}

impl Sensitivity {
    /// The worst step.
    pub fn error(&self) -> f64 {
        worst(&self.errors)
    }
}

/// The largest of these errors; infinite where one is not a number.
pub fn worst(errors: &[f64]) -> f64 {
    errors.iter().map(|&x| if x.is_nan() { f64::INFINITY } else { x }).fold(0.0, f64::max)
}

/// The groups of everything that `table` has measured and `all-fp8-attention` puts in FP8.
pub fn groups(table: &CalibrationTable) -> Vec<Group> {
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
    stems.iter().map(|(key, stems)| key.group(stems, &all)).collect()
}

/// Submodule and path of every entry of one half of a table.
fn paths<T>(entries: &BTreeMap<String, BTreeMap<String, T>>) -> impl Iterator<Item = (&str, &str)> {
    entries.iter().flat_map(|(stem, layers)| layers.keys().map(move |path| (&**stem, &**path)))
}

/// What a group is known by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    /// Stem of an expert, or of any other submodule.
    owner: &'a str,
    /// Block of an expert.
    block: Option<usize>,
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

impl Key<'_> {
    fn group(&self, stems: &BTreeSet<&str>, all: &Policy) -> Group {
        let stack = all.rules.iter().find(|rule| rule.submodule == self.owner);
        let path = match (self.block, stack) {
            (Some(block), _) => format!("blocks.{block}.**"),
            (None, Some(rule)) => rule.path.clone(),
            (None, None) => "**".into(),
        };
        let rule = |stem: &&str| Rule {
            submodule: stem.to_string(),
            path: path.clone(),
            numbers: Numbers::Fp8,
        };
        let kind = if self.attention { "attention" } else { "linears" };
        let name = match self.block {
            Some(block) => format!("{} blocks.{block} {kind}", self.owner),
            None => format!("{} {kind}", self.owner),
        };
        Group { name, rules: stems.iter().map(rule).collect(), attention: self.attention }
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

/// Puts first what saves the most work for the square of its error.
pub fn order(groups: &mut [Sensitivity]) {
    let cost = |group: &Sensitivity| match group.flops {
        flops if flops > 0.0 => group.error().powi(2) / flops,
        _ => f64::INFINITY,
    };
    groups.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
}

/// The error of the worst step with all of `groups` in FP8, if their roundings are independent.
pub fn predicted(groups: &[Sensitivity]) -> f64 {
    let steps = groups.iter().map(|group| group.errors.len()).max().unwrap_or_default();
    let square = |step: usize| {
        groups.iter().filter_map(|group| group.errors.get(step)).map(|x| x * x).sum::<f64>()
    };
    worst(&(0..steps).map(|step| square(step).sqrt()).collect::<Vec<_>>())
}

/// The most of `count` groups whose error `measure` finds within `budget`, by bisection that starts
/// at `guess`; none have the error 0.
///
/// # Errors
/// Those of `measure`.
pub fn most_within<E>(
    count: usize,
    guess: usize,
    budget: f64,
    mut measure: impl FnMut(usize) -> Result<f64, E>,
) -> Result<usize, E> {
    let (mut within, mut beyond) = (0, count + 1);
    let mut next = guess;
    while beyond - within > 1 {
        let middle = next.clamp(within + 1, beyond - 1);
        match measure(middle)? <= budget {
            true => within = middle,
            false => beyond = middle,
        }
        next = within + (beyond - within) / 2;
    }
    Ok(within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Amax, AttentionAmax, Method, TABLE_SCHEMA};

    fn table() -> CalibrationTable {
        let amax = Amax { input: 1.0, weight: 1.0 };
        let layers = |paths: &[&str]| paths.iter().map(|path| (path.to_string(), amax)).collect();
        let attention = AttentionAmax { q: 1.0, k: 1.0, v: 1.0 };
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

    fn sensitivity(flops: f64, errors: &[f64]) -> Sensitivity {
        let group = groups(&table()).swap_remove(0);
        Sensitivity { group, errors: errors.into(), flops }
    }

    #[test]
    fn what_was_measured_falls_into_blocks_and_stacks() {
        let groups = groups(&table());
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
        let groups = groups(&table());
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
    fn errors_of_one_step_add_as_squares_and_the_worst_step_counts() {
        let groups = [sensitivity(1.0, &[0.03, 0.0]), sensitivity(1.0, &[0.04, 0.01])];
        assert!((predicted(&groups) - 0.05).abs() < 1e-12);
        assert_eq!(predicted(&[]), 0.0);
        assert_eq!(predicted(&[sensitivity(1.0, &[f64::NAN])]), f64::INFINITY);
    }

    #[test]
    fn what_saves_more_for_its_error_comes_first_and_what_saves_nothing_last() {
        let mut groups = [
            sensitivity(0.0, &[0.001]),
            sensitivity(1.0, &[0.02]),
            sensitivity(8.0, &[0.04]),
            sensitivity(8.0, &[f64::NAN]),
        ];
        order(&mut groups);
        let flops: Vec<_> = groups.iter().map(|group| group.flops).collect();
        assert_eq!(flops[..2], [8.0, 1.0]);
        assert_eq!(groups[0].error(), 0.04);
    }

    #[test]
    fn bisection_finds_the_last_count_within_the_budget_from_any_guess() {
        for last in 0..=9 {
            for guess in 0..=12 {
                let mut runs = 0;
                let found = most_within(9, guess, 0.5, |count| {
                    runs += 1;
                    assert!((1..=9).contains(&count));
                    Ok::<_, ()>(if count <= last { 0.5 } else { 0.6 })
                });
                assert_eq!(found, Ok(last));
                assert!(runs <= 5, "{runs}");
            }
        }
        assert_eq!(most_within(2, 1, 1.0, |_| Err("stopped")), Err("stopped"));
        assert_eq!(most_within(2, 2, 1.0, |_| Ok::<_, ()>(f64::NAN)), Ok(0));
    }
}
