//! Measures what FP8 scales are made from: runs the pipeline on graphs with amax taps
//! (`export --taps amax`) and keeps the largest magnitudes of every linear layer and attention, by channel.

mod attention;
mod centering;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use centering::Centering;

use bernini_calibration::{Amax, AttentionAmax, CalibrationTable, TABLE_SCHEMA, TableError};
use bernini_graphs::Submodule;
use bernini_graphs::manifest::PortEntry;
use bernini_graphs::taps::{
    AMAX, AMAX_CENTERED_K, AMAX_COLUMNS, AMAX_K, AMAX_Q, AMAX_ROWS, AMAX_V,
};
use ndarray::ArrayD;

use crate::backend::{Backend, BackendError, DeviceUse, Outputs, Session};
use crate::package::Package;
use crate::request::{Plan, Request};
use crate::tensor::Tensor;

/// Smallest amax in a table: a layer that met zeros only needs a scale above 0, too.
const SMALLEST: f32 = 1e-6;

/// Whether a graph with these outputs says what enters its linear layers.
pub fn is_tapped(outputs: &[PortEntry]) -> bool {
    outputs.iter().any(|port| port.name.starts_with(AMAX))
}

/// Whether a graph with these outputs says what its keys are less their mean.
pub fn measures_centered_keys(outputs: &[PortEntry]) -> bool {
    outputs.iter().any(|port| port.name.starts_with(AMAX_CENTERED_K))
}

/// Submodule → path → the largest magnitudes so far by channel, for each tap of that kind of layer.
type Largest<const N: usize> = BTreeMap<Submodule, BTreeMap<String, [Vec<f32>; N]>>;

/// Taps of a linear layer: input, rows and columns of its weight.
const LINEAR: [&str; 3] = [AMAX, AMAX_ROWS, AMAX_COLUMNS];
/// Taps of an attention, in the order of [`AttentionAmax`].
const ATTENTION: [&str; 3] = [AMAX_Q, AMAX_K, AMAX_V];
/// Tap of an attention to itself.
const SELF_ATTENTION: [&str; 1] = [AMAX_CENTERED_K];

#[derive(Debug, Default)]
struct Store {
    linears: Largest<3>,
    attentions: Largest<3>,
    /// Keys less their mean, of attentions to themselves.
    centered_keys: Largest<1>,
    /// Where the table is to have them.
    center_keys: Centering,
    /// Channels per head of attentions.
    head_dim: usize,
}

/// What every run since the beginning has met. Clones share one store.
#[derive(Clone, Debug, Default)]
pub struct Measurements(Arc<Mutex<Store>>);

impl Measurements {
    /// The table of the checkpoint called `source`, measured on `cases`; with `balance`, attentions
    /// are re-balanced, and what an export with the table meets is in it.
    ///
    /// # Errors
    /// A layer that met a value which is not finite.
    pub fn table(
        &self,
        source: &str,
        cases: Vec<String>,
        balance: bool,
    ) -> Result<CalibrationTable, TableError> {
        let store = self.lock();
        let attentions = centering::attentions(&store);
        let mut table = CalibrationTable {
            schema: TABLE_SCHEMA,
            source: source.into(),
            cases,
            submodules: usable(&store.linears, |[input, weight, _]| Amax { input, weight }),
            attention: usable(&attentions, |[q, k, v]| {
                let center_keys = false;
                AttentionAmax { q, k, v, center_keys }
            }),
            balance: BTreeMap::new(),
        };
        centering::mark(&mut table, &store);
        let table = if balance { balanced(table, &store, &attentions) } else { table };
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

    /// Takes the taps out of `outputs`.
    fn add(&self, submodule: Submodule, outputs: &mut Outputs) -> Result<(), BackendError> {
        let linears = take(submodule, outputs, LINEAR, 1)?;
        let attentions = take(submodule, outputs, ATTENTION, 2)?;
        let centered_keys = take(submodule, outputs, SELF_ATTENTION, 2)?;
        let mut store = self.lock();
        let shapes = attentions.values().flat_map(|taps| taps[0].shape().last());
        store.head_dim = shapes.copied().next().unwrap_or(store.head_dim);
        keep_largest(&mut store.linears, submodule, linears);
        keep_largest(&mut store.attentions, submodule, attentions);
        keep_largest(&mut store.centered_keys, submodule, centered_keys);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a table that `all` is, with scales above 0.
fn usable<const N: usize, T>(
    all: &Largest<N>,
    amax: impl Fn([f32; N]) -> T,
) -> BTreeMap<String, BTreeMap<String, T>> {
    let layers = |layers: &BTreeMap<String, [Vec<f32>; N]>| {
        let usable = |met: &[Vec<f32>; N]| amax(met.each_ref().map(|met| largest(met)));
        layers.iter().map(|(path, met)| (path.clone(), usable(met))).collect()
    };
    all.iter().map(|(submodule, met)| (submodule.stem().to_string(), layers(met))).collect()
}

/// The largest of all channels, if not too small for a scale.
fn largest(channels: &[f32]) -> f32 {
    channels.iter().copied().fold(SMALLEST, larger)
}

/// `table` with the factors of every attention whose layers all ran.
fn balanced(
    mut table: CalibrationTable,
    store: &Store,
    attentions: &Largest<3>,
) -> CalibrationTable {
    for (&expert, attentions) in attentions {
        for (path, qkv) in attentions {
            let choice = attention::Choice::new(store, expert, path, qkv);
            if let Some(choice) = choice {
                choice.enter(&mut table, expert, path);
            }
        }
    }
    table
}

/// Takes the taps of one kind of layer, arrays of `rank` axes, out of `outputs`: path → one array
/// for each prefix.
fn take<const N: usize>(
    submodule: Submodule,
    outputs: &mut Outputs,
    prefixes: [&str; N],
    rank: usize,
) -> Result<BTreeMap<String, [ArrayD<f32>; N]>, BackendError> {
    let mut taken = prefixes.map(|prefix| outputs.take_prefixed(prefix));
    let paths: Vec<_> = taken[0].keys().cloned().collect();
    let mut met = BTreeMap::new();
    for path in paths {
        let mut values = std::array::from_fn(|_| ArrayD::zeros(vec![0]));
        for ((value, taps), prefix) in values.iter_mut().zip(&mut taken).zip(prefixes) {
            let name = format!("{prefix}{path}");
            let missing = || BackendError::MissingPort { submodule, name: name.clone() };
            *value = channels(submodule, &name, taps.remove(&path).ok_or_else(missing)?, rank)?;
        }
        met.insert(path, values);
    }
    Ok(met)
}

/// The values of a tap.
fn channels(
    submodule: Submodule,
    name: &str,
    tensor: Tensor,
    rank: usize,
) -> Result<ArrayD<f32>, BackendError> {
    let found = format!("{} {:?}", tensor.dtype(), tensor.shape());
    match tensor.into_host()? {
        Tensor::F32(array) if array.ndim() == rank && !array.is_empty() => Ok(array),
        _ => {
            let (name, expected) = (name.into(), format!("f32 of rank {rank}"));
            Err(BackendError::Port { submodule, name, expected, found })
        }
    }
}

fn keep_largest<const N: usize>(
    all: &mut Largest<N>,
    submodule: Submodule,
    met: BTreeMap<String, [ArrayD<f32>; N]>,
) {
    if met.is_empty() {
        return;
    }
    let layers = all.entry(submodule).or_default();
    for (path, met) in met {
        let met = met.map(|array| array.into_iter().collect::<Vec<f32>>());
        match layers.entry(path) {
            Entry::Vacant(entry) => {
                entry.insert(met);
            }
            Entry::Occupied(mut entry) => {
                let pairs = entry.get_mut().iter_mut().zip(&met);
                for (largest, met) in pairs.flat_map(|(largest, met)| largest.iter_mut().zip(met)) {
                    *largest = larger(*largest, *met);
                }
            }
        }
    }
}

/// The larger one; NaN where either is, unlike [`f32::max`], which would hide it.
fn larger(a: f32, b: f32) -> f32 {
    if a.is_nan() || a > b { a } else { b }
}

/// A backend whose sessions keep to the contract and put their taps into `measurements`.
pub struct Calibrating<B> {
    backend: B,
    measurements: Measurements,
}

impl<B: Backend> Calibrating<B> {
    /// Wraps `backend`, which runs graphs with amax taps.
    pub fn new(backend: B, measurements: Measurements) -> Self {
        Self { backend, measurements }
    }
}

impl<B: Backend> Backend for Calibrating<B> {
    fn load(&self, submodule: Submodule) -> Result<Box<dyn Session>, BackendError> {
        let (session, measurements) = (self.backend.load(submodule)?, self.measurements.clone());
        Ok(Box::new(CalibratingSession { submodule, session, measurements }))
    }

    fn check(&self, request: &Request, plan: &Plan, package: &Package) -> Result<(), BackendError> {
        self.backend.check(request, plan, package)
    }

    fn resident(&self, tensor: Tensor) -> Result<Tensor, BackendError> {
        self.backend.resident(tensor)
    }

    fn device_use(&self) -> Result<Option<DeviceUse>, BackendError> {
        self.backend.device_use()
    }
}

struct CalibratingSession {
    submodule: Submodule,
    session: Box<dyn Session>,
    measurements: Measurements,
}

impl Session for CalibratingSession {
    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Outputs, BackendError> {
        let mut outputs = self.session.run(inputs)?;
        self.measurements.add(self.submodule, &mut outputs)?;
        Ok(outputs)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

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
        assert_eq!(measurements.lock().linears[&Submodule::Transformer]["a"][0], [2.0, 1.5]);
        let table = measurements.table("source", vec!["case".into()], true).unwrap();
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
        let table = measurements.table("", vec![], true).unwrap();
        let expected = AttentionAmax { q: 7.0, k: 3.0, v: 9.0, center_keys: false };
        assert_eq!(table.attention("transformer_2", "a"), Some(expected));
        assert!(table.balance.is_empty());
    }

    #[test]
    fn nan_is_not_forgotten_and_zero_becomes_a_usable_scale() {
        let measurements = Measurements::default();
        linear(&measurements, Submodule::Transformer, [0.0; 2]);
        let table = measurements.table("", vec![], true).unwrap();
        let (scale, _) = table.amax("transformer", "a").unwrap().scales();
        assert!(half::bf16::from_f32(scale).to_f32() > 0.0);
        for input in [f32::NAN, 3.0] {
            linear(&measurements, Submodule::Transformer, [input, 1.0]);
        }
        let refused = measurements.table("", vec![], true).unwrap_err();
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
}
