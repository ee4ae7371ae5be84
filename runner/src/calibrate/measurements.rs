//! What all runs met, and the table that is made of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bernini_calibration::{
    Amax, AttentionAmax, CalibrationTable, Method, TABLE_SCHEMA, TableError,
};
use bernini_graphs::Submodule;

use super::centering::Centering;
use super::met::{Met, keep_largest, larger, largest};
use super::taps::{Attention, Linear, Taps};
use super::{attention, centering};
use crate::backend::{BackendError, Outputs};
use crate::guidance::Branch;

/// Submodule → path → what a layer of one kind met.
type ByPath<T> = BTreeMap<Submodule, BTreeMap<String, T>>;

#[derive(Debug, Default)]
pub(super) struct Store {
    pub linears: ByPath<Linear>,
    pub attentions: ByPath<Attention>,
    /// Attentions whose keys the table says are to be centred.
    pub center_keys: Centering,
    /// The guidance branch that experts run for.
    branch: Option<Branch>,
}

impl Store {
    /// Whether the keys of that attention are to be centred.
    pub fn centers_keys(&self, submodule: Submodule, path: &str) -> bool {
        self.center_keys.get(&submodule).is_some_and(|chosen| chosen.contains_key(path))
    }
}

/// What every run since the beginning has met. Clones share one store.
#[derive(Clone, Debug, Default)]
pub struct Measurements(Arc<Mutex<Store>>);

impl Measurements {
    /// The table of the checkpoint called `source`, measured on `cases`, with scales chosen by
    /// `method`; with `balance`, attentions are re-balanced, and what an export with the table meets
    /// is in it.
    ///
    /// # Errors
    /// A layer that met a value which is not finite, or of which `method` knows too little; an
    /// impossible method.
    pub fn table(
        &self,
        source: &str,
        cases: Vec<String>,
        method: Method,
        balance: bool,
    ) -> Result<CalibrationTable, TableError> {
        let store = self.lock();
        let choose = |submodule: Submodule, path: &str, met: &Met| {
            let (submodule, path) = (submodule.stem().to_string(), path.to_string());
            met.choose(method).ok_or(TableError::NoSums { submodule, path })
        };
        let linear = |submodule, path: &str, met: &Linear| {
            let input = choose(submodule, path, &met.input)?;
            Ok(Amax { input, weight: largest(&met.rows) })
        };
        let attention = |submodule, path: &str, met: &Attention| {
            let [q, k, v] = met.qkv.each_ref().map(|met| choose(submodule, path, met));
            let center_keys = store.centers_keys(submodule, path);
            let centered = met.centered_keys.iter().filter(|_| center_keys);
            let k = centered.copied().fold(k?, larger);
            Ok(AttentionAmax { q: q?, k, v: v?, center_keys })
        };
        let mut table = CalibrationTable {
            schema: TABLE_SCHEMA,
            source: source.into(),
            cases,
            method,
            submodules: by_stem(&store.linears, linear)?,
            attention: by_stem(&store.attentions, attention)?,
            balance: BTreeMap::new(),
            branches: branches(&store),
        };
        if balance {
            re_balance(&mut table, &store);
        }
        table.validate()?;
        Ok(table)
    }

    /// From now on tables have the keys centred of every attention that gains by it. Gives the share
    /// of the noise in their scores that is left.
    pub fn center_keys(&self) -> Centering {
        let mut store = self.lock();
        store.center_keys = centering::choose(&store);
        store.center_keys.clone()
    }

    /// The next runs of an expert are those of `branch`.
    pub(super) fn begin_branch(&self, branch: Branch) {
        self.lock().branch = Some(branch);
    }

    /// Takes the taps out of `outputs`.
    pub(super) fn add(
        &self,
        submodule: Submodule,
        outputs: &mut Outputs,
    ) -> Result<(), BackendError> {
        let mut store = self.lock();
        let is_expert = matches!(submodule, Submodule::Transformer | Submodule::Transformer2);
        let branch = store.branch.filter(|_| is_expert).map(|branch| branch.to_string());
        let taps = Taps::take(submodule, outputs, branch.as_deref())?;
        if !taps.linears.is_empty() {
            let layers = store.linears.entry(submodule).or_default();
            for (path, run) in taps.linears {
                let layer = layers.entry(path).or_default();
                layer.input.add(run.input);
                keep_largest(&mut layer.rows, run.rows);
                keep_largest(&mut layer.columns, run.columns);
            }
        }
        if !taps.attentions.is_empty() {
            let attentions = store.attentions.entry(submodule).or_default();
            for (path, run) in taps.attentions {
                let attention = attentions.entry(path).or_default();
                attention.head_dim = run.head_dim;
                keep_largest(&mut attention.centered_keys, run.centered_keys);
                attention.qkv.iter_mut().zip(run.qkv).for_each(|(met, run)| met.add(run));
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a table that `all` becomes.
fn by_stem<T, U>(
    all: &ByPath<T>,
    entry: impl Fn(Submodule, &str, &T) -> Result<U, TableError>,
) -> Result<BTreeMap<String, BTreeMap<String, U>>, TableError> {
    let layers = |(&submodule, layers): (&Submodule, &BTreeMap<String, T>)| {
        let entries =
            layers.iter().map(|(path, met)| Ok((path.clone(), entry(submodule, path, met)?)));
        Ok((submodule.stem().to_string(), entries.collect::<Result<_, TableError>>()?))
    };
    all.iter().map(layers).collect()
}

/// Stem → tensor → branch → the largest magnitude, of all that is met in branches.
fn branches(store: &Store) -> BTreeMap<String, BTreeMap<String, BTreeMap<String, f32>>> {
    let mut all: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
    let mut enter = |submodule: &Submodule, tensor: String, met: &Met| {
        if !met.branches.is_empty() {
            let tensors = all.entry(submodule.stem().into()).or_default();
            tensors.insert(tensor, met.branches.clone());
        }
    };
    for (submodule, layers) in &store.linears {
        layers.iter().for_each(|(path, layer)| enter(submodule, path.clone(), &layer.input));
    }
    for (submodule, attentions) in &store.attentions {
        for (path, attention) in attentions {
            for (name, met) in ["q", "k", "v"].into_iter().zip(&attention.qkv) {
                enter(submodule, format!("{path}.{name}"), met);
            }
        }
    }
    all
}

/// Puts the factors of every attention whose layers all ran into `table`.
fn re_balance(table: &mut CalibrationTable, store: &Store) {
    for (&expert, attentions) in &store.attentions {
        for (path, met) in attentions {
            if let Some(choice) = attention::Choice::new(store, expert, path, met) {
                choice.enter(table, expert, path);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bernini_graphs::taps::{EDGES, STEPS, edges};
    use ndarray::ArrayD;

    use super::*;
    use crate::guidance::{Context, SourceSet};
    use crate::tensor::Tensor;

    /// Adds one run, whose taps are given by name, shape and values.
    pub fn run(
        measurements: &Measurements,
        submodule: Submodule,
        taps: &[(&str, &[usize], &[f32])],
    ) -> Outputs {
        let tensor = |shape: &[usize], values: &[f32]| {
            Tensor::from(ArrayD::from_shape_vec(shape, values.to_vec()).unwrap())
        };
        let tensors = taps.iter().map(|(name, shape, x)| (name.to_string(), tensor(shape, x)));
        let mut outputs = Outputs::new(submodule, tensors.collect());
        measurements.add(submodule, &mut outputs).unwrap();
        outputs
    }

    /// Taps of a linear layer `a` that meets `input`.
    fn linear(measurements: &Measurements, submodule: Submodule, input: [f32; 2]) -> Outputs {
        let taps: [(&str, &[usize], &[f32]); 4] = [
            ("amax.a", &[2], &input),
            ("amax_rows.a", &[3], &[0.25, 0.5, 0.0]),
            ("amax_columns.a", &[2], &[0.5, 0.25]),
            ("velocity", &[1], &[1.0]),
        ];
        run(measurements, submodule, &taps)
    }

    #[test]
    fn the_largest_of_all_runs_is_kept_by_submodule() {
        let measurements = Measurements::default();
        for (submodule, input) in [
            (Submodule::Transformer, [2.0, 1.0]),
            (Submodule::Transformer, [1.0, 1.5]),
            (Submodule::Vision, [0.0, 9.0]),
        ] {
            let mut outputs = linear(&measurements, submodule, input);
            assert!(outputs.take("velocity").is_ok() && outputs.take("amax.a").is_err());
        }
        assert_eq!(
            measurements.lock().linears[&Submodule::Transformer]["a"].input.amax,
            [2.0, 1.5]
        );
        let table = measurements.table("source", vec!["case".into()], Method::Amax, true).unwrap();
        let amax = |input| Some(Amax { input, weight: 0.5 });
        assert_eq!(table.amax("transformer", "a"), amax(2.0));
        assert_eq!(table.amax("vision", "a"), amax(9.0));
        assert_eq!((table.source.as_str(), table.cases.len()), ("source", 1));
    }

    #[test]
    fn attentions_are_kept_beside_the_linear_layers() {
        let measurements = Measurements::default();
        for [q, k, v] in [[2.0, 3.0, 9.0], [7.0, 1.0, 4.0]] {
            let taps: [(&str, &[usize], &[f32]); 3] = [
                ("amax_q.a", &[1, 2], &[q, 0.0]),
                ("amax_k.a", &[1, 2], &[k, 0.0]),
                ("amax_v.a", &[1, 2], &[v, 0.0]),
            ];
            run(&measurements, Submodule::Transformer2, &taps);
        }
        // Without its layers, nothing can be re-balanced.
        let table = measurements.table("", vec![], Method::Amax, true).unwrap();
        let expected = AttentionAmax { q: 7.0, k: 3.0, v: 9.0, center_keys: false };
        assert_eq!(table.attention("transformer_2", "a"), Some(expected));
        assert!(table.balance.is_empty());
    }

    #[test]
    fn nan_is_not_forgotten_and_zero_becomes_a_usable_scale() {
        let measurements = Measurements::default();
        linear(&measurements, Submodule::Transformer, [0.0; 2]);
        let table = measurements.table("", vec![], Method::Amax, true).unwrap();
        let (scale, _) = table.amax("transformer", "a").unwrap().scales();
        assert!(half::bf16::from_f32(scale).to_f32() > 0.0);
        for input in [f32::NAN, 3.0] {
            linear(&measurements, Submodule::Transformer, [input, 1.0]);
        }
        let refused = measurements.table("", vec![], Method::Amax, true).unwrap_err();
        assert!(matches!(refused, TableError::Amax { field: "input", .. }), "{refused}");
    }

    #[test]
    fn a_tap_without_its_weight_or_of_another_rank_is_named() {
        for (shape, expected) in [
            (&[1][..], "vision: no port amax_rows.a"),
            (&[1, 1], "amax.a: expected f32 of rank 1, found f32 [1, 1]"),
        ] {
            let tensor = Tensor::from(ArrayD::from_elem(shape, 1.0));
            let mut outputs = Outputs::new(Submodule::Vision, [("amax.a".into(), tensor)].into());
            let refused = Measurements::default().add(Submodule::Vision, &mut outputs).unwrap_err();
            assert!(refused.to_string().contains(expected), "{refused}");
        }
    }

    /// Counts of a tensor whose values are 1 but for one of 100, and errors that are least at `best`.
    fn sums(count: f32, best: usize) -> ([f32; EDGES], [f32; STEPS]) {
        let above = |edge| if edge < 1.0 { count } else { f32::from(u8::from(edge < 100.0)) };
        (edges().map(above), std::array::from_fn(|j| if j == best { 1.0 } else { 2.0 }))
    }

    #[test]
    fn counts_and_errors_of_all_runs_decide() {
        let measurements = Measurements::default();
        let other = sums(90.0, STEPS / 2);
        for (above, errors) in [sums(10.0, 0), other, other] {
            let taps: [(&str, &[usize], &[f32]); 5] = [
                ("amax.a", &[2], &[1.0, 100.0]),
                ("amax_rows.a", &[1], &[0.5]),
                ("amax_columns.a", &[2], &[0.5, 0.5]),
                ("above.amax.a", &[EDGES], &above),
                ("rounding.amax.a", &[STEPS], &errors),
            ];
            run(&measurements, Submodule::TextEncoder, &taps);
        }
        let input = |method| {
            let table = measurements.table("", vec![], method, false).unwrap();
            assert_eq!(table.method, method);
            table.amax("text_encoder", "a").unwrap().input
        };
        assert_eq!(input(Method::Amax), 100.0);
        // The least error is at half an octave above a power of two.
        assert_eq!(input(Method::Mse), 7.5f32.exp2().max(100.0));
        // 3 of 190 values are larger than 1.
        assert!(input(Method::Percentile(98.0)) <= 1.0);
        assert!(input(Method::Percentile(99.0)) > 1.0);
        let refused = measurements.table("", vec![], Method::Percentile(0.0), false).unwrap_err();
        assert!(matches!(refused, TableError::Percentile { .. }), "{refused}");
    }

    #[test]
    fn without_statistics_only_amax_can_be_chosen() {
        let measurements = Measurements::default();
        linear(&measurements, Submodule::Vision, [1.0; 2]);
        for method in [Method::Mse, Method::Percentile(99.0)] {
            let refused = measurements.table("", vec![], method, false).unwrap_err();
            assert!(refused.to_string().contains("vision a: expected counts"), "{refused}");
        }
    }

    #[test]
    fn the_largest_of_each_branch_is_kept_for_experts() {
        let measurements = Measurements::default();
        let of = |context| Branch { sources: SourceSet::None, context };
        for (context, input) in [
            (Context::Negative, [2.0, 1.0]),
            (Context::Positive, [1.0, 5.0]),
            (Context::Negative, [3.0, 1.0]),
        ] {
            measurements.begin_branch(of(context));
            linear(&measurements, Submodule::Transformer, input);
            linear(&measurements, Submodule::TextEncoder, input);
        }
        let table = measurements.table("", vec![], Method::Amax, false).unwrap();
        let largest = [("none+negative".into(), 3.0), ("none+positive".into(), 5.0)];
        assert_eq!(table.branches["transformer"]["a"], largest.into());
        assert_eq!(table.branches.len(), 1, "text is encoded for no branch");
    }
}
