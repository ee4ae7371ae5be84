//! Measures what FP8 scales are made from: runs the pipeline on graphs with amax taps
//! (`export --taps amax`) and keeps the largest magnitudes of every linear layer and attention.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bernini_calibration::{Amax, AttentionAmax, CalibrationTable, TABLE_SCHEMA, TableError};
use bernini_graphs::Submodule;
use bernini_graphs::manifest::PortEntry;
use bernini_graphs::taps::{AMAX, AMAX_K, AMAX_Q, AMAX_V, AMAX_WEIGHT};

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

/// Submodule → path → the largest magnitudes so far, one for each tap of that kind of layer.
type Largest<const N: usize> = BTreeMap<Submodule, BTreeMap<String, [f32; N]>>;

/// Taps of a linear layer, in the order of [`Amax`].
const LINEAR: [&str; 2] = [AMAX, AMAX_WEIGHT];
/// Taps of an attention, in the order of [`AttentionAmax`].
const ATTENTION: [&str; 3] = [AMAX_Q, AMAX_K, AMAX_V];

#[derive(Debug, Default)]
struct Store {
    linears: Largest<2>,
    attentions: Largest<3>,
}

/// What every run since the beginning has met. Clones share one store.
#[derive(Clone, Debug, Default)]
pub struct Measurements(Arc<Mutex<Store>>);

impl Measurements {
    /// The table of the checkpoint called `source`, measured on `cases`.
    ///
    /// # Errors
    /// A layer that met a value which is not finite.
    pub fn table(&self, source: &str, cases: Vec<String>) -> Result<CalibrationTable, TableError> {
        let store = self.lock();
        let table = CalibrationTable {
            schema: TABLE_SCHEMA,
            source: source.into(),
            cases,
            submodules: usable(&store.linears, |[input, weight]| Amax { input, weight }),
            attention: usable(&store.attentions, |[q, k, v]| AttentionAmax { q, k, v }),
        };
        table.validate()?;
        Ok(table)
    }

    /// Takes the taps out of `outputs`.
    fn add(&self, submodule: Submodule, outputs: &mut Outputs) -> Result<(), BackendError> {
        let linears = take(submodule, outputs, LINEAR)?;
        let attentions = take(submodule, outputs, ATTENTION)?;
        let mut store = self.lock();
        keep_largest(&mut store.linears, submodule, linears);
        keep_largest(&mut store.attentions, submodule, attentions);
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
    let layers = |layers: &BTreeMap<String, [f32; N]>| {
        let usable = |met: &[f32; N]| amax(met.map(|met| larger(met, SMALLEST)));
        layers.iter().map(|(path, met)| (path.clone(), usable(met))).collect()
    };
    all.iter().map(|(submodule, met)| (submodule.stem().to_string(), layers(met))).collect()
}

/// Takes the taps of one kind of layer out of `outputs`: path → one value for each prefix.
fn take<const N: usize>(
    submodule: Submodule,
    outputs: &mut Outputs,
    prefixes: [&str; N],
) -> Result<BTreeMap<String, [f32; N]>, BackendError> {
    let mut taken = prefixes.map(|prefix| outputs.take_prefixed(prefix));
    let paths: Vec<_> = taken[0].keys().cloned().collect();
    let mut met = BTreeMap::new();
    for path in paths {
        let mut values = [0.0; N];
        for ((value, taps), prefix) in values.iter_mut().zip(&mut taken).zip(prefixes) {
            let missing =
                || BackendError::MissingPort { submodule, name: format!("{prefix}{path}") };
            let tensor = taps.remove(&path).ok_or_else(missing)?;
            *value = scalar(submodule, prefix, &path, tensor)?;
        }
        met.insert(path, values);
    }
    Ok(met)
}

fn keep_largest<const N: usize>(
    all: &mut Largest<N>,
    submodule: Submodule,
    met: BTreeMap<String, [f32; N]>,
) {
    if met.is_empty() {
        return;
    }
    let layers = all.entry(submodule).or_default();
    for (path, met) in met {
        let largest = layers.entry(path).or_insert(met);
        *largest = std::array::from_fn(|i| larger(largest[i], met[i]));
    }
}

/// The larger one; NaN where either is, unlike [`f32::max`], which would hide it.
fn larger(a: f32, b: f32) -> f32 {
    if a.is_nan() || a > b { a } else { b }
}

/// The one value of a tap.
fn scalar(
    submodule: Submodule,
    prefix: &str,
    path: &str,
    tensor: Tensor,
) -> Result<f32, BackendError> {
    let found = format!("{} {:?}", tensor.dtype(), tensor.shape());
    match tensor.into_host()? {
        Tensor::F32(array) if array.len() == 1 => Ok(array.sum()),
        _ => {
            let (name, expected) = (format!("{prefix}{path}"), "f32 []".into());
            Err(BackendError::Port { submodule, name, expected, found })
        }
    }
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
mod tests {
    use ndarray::arr0;

    use super::*;

    fn run(measurements: &Measurements, submodule: Submodule, taps: &[(&str, f32)]) -> Outputs {
        let tensors = taps.iter().map(|(name, x)| (name.to_string(), Tensor::from(arr0(*x))));
        let mut outputs = Outputs::new(submodule, tensors.collect());
        measurements.add(submodule, &mut outputs).unwrap();
        outputs
    }

    #[test]
    fn the_largest_of_all_runs_is_kept_by_submodule() {
        let measurements = Measurements::default();
        for (submodule, input) in
            [(Submodule::Transformer, 2.0), (Submodule::Transformer, 1.0), (Submodule::Vision, 9.0)]
        {
            let taps = [("amax.a.b", input), ("amax_weight.a.b", 0.5), ("velocity", 1.0)];
            let mut outputs = run(&measurements, submodule, &taps);
            assert!(outputs.take("velocity").is_ok() && outputs.take("amax.a.b").is_err());
        }
        let table = measurements.table("source", vec!["case".into()]).unwrap();
        let amax = |input| Some(Amax { input, weight: 0.5 });
        assert_eq!(table.amax("transformer", "a.b"), amax(2.0));
        assert_eq!(table.amax("vision", "a.b"), amax(9.0));
        assert_eq!((table.source.as_str(), table.cases.len()), ("source", 1));
    }

    #[test]
    fn attentions_are_kept_beside_the_linear_layers() {
        let measurements = Measurements::default();
        for (q, k, v) in [(2.0, 3.0, 9.0), (7.0, 1.0, 4.0)] {
            let taps = [("amax_q.a", q), ("amax_k.a", k), ("amax_v.a", v), ("amax.a.to_q", 5.0)];
            let weight = [("amax_weight.a.to_q", 0.5)];
            run(&measurements, Submodule::Transformer2, &[&taps[..], &weight].concat());
        }
        let table = measurements.table("", vec![]).unwrap();
        let expected = AttentionAmax { q: 7.0, k: 3.0, v: 9.0 };
        assert_eq!(table.attention("transformer_2", "a"), Some(expected));
        assert_eq!(table.amax("transformer_2", "a.to_q"), Some(Amax { input: 5.0, weight: 0.5 }));
    }

    #[test]
    fn nan_is_not_forgotten_and_zero_becomes_a_usable_scale() {
        let measurements = Measurements::default();
        run(&measurements, Submodule::Transformer, &[("amax.a", 0.0), ("amax_weight.a", 1.0)]);
        let table = measurements.table("", vec![]).unwrap();
        let (scale, _) = table.amax("transformer", "a").unwrap().scales();
        assert!(half::bf16::from_f32(scale).to_f32() > 0.0);
        for input in [f32::NAN, 3.0] {
            let taps = [("amax.a", input), ("amax_weight.a", 1.0)];
            run(&measurements, Submodule::Transformer, &taps);
        }
        let refused = measurements.table("", vec![]).unwrap_err();
        assert!(matches!(refused, TableError::Amax { field: "input", .. }), "{refused}");
    }

    #[test]
    fn a_tap_without_its_weight_is_named() {
        let tensors = [("amax.a".to_string(), Tensor::from(arr0(1.0)))];
        let mut outputs = Outputs::new(Submodule::Vision, tensors.into());
        let refused = Measurements::default().add(Submodule::Vision, &mut outputs).unwrap_err();
        assert_eq!(refused.to_string(), "vision: no port amax_weight.a");
    }
}
