//! The re-balancing factors of a calibration table, tensor by tensor of a checkpoint.

use bernini_calibration::TableError;
use bernini_calibration::balance::{Axis, Balance, Fold};
use bernini_graphs::{Component, Submodule};

use crate::checkpoint::Checkpoint;
use crate::export::{Calibration, ExportOptions};

/// Tensors that every re-balanced attention has.
const TENSORS: [&str; 5] =
    ["norm_q.weight", "norm_k.weight", "to_v.weight", "to_v.bias", "to_out.0.weight"];

/// What becomes of the tensor `name` of `component`: where an attention is re-balanced, all its
/// tensors are, whatever of it runs in FP8, because its amax values are those behind the factors.
pub fn fold(options: &ExportOptions, component: Component, name: &str) -> Option<Fold> {
    let mut all = balances(options).filter(|(stem, ..)| of(stem) == Some(component));
    all.find_map(|(_, path, balance)| {
        balance.fold(name.strip_prefix(path.as_str())?.strip_prefix('.')?)
    })
}

/// blake3, in hex, of all factors; `None` where there are none.
pub fn hash(options: &ExportOptions) -> Option<String> {
    let all: Vec<_> = balances(options).collect();
    let text = format!("{all:?}");
    (!all.is_empty()).then(|| blake3::hash(text.as_bytes()).to_hex().to_string())
}

/// Refuses factors for tensors that the checkpoint lacks or has in another size.
pub fn check(options: &ExportOptions, checkpoint: &Checkpoint) -> Result<(), TableError> {
    for (stem, path, balance) in balances(options) {
        let tensors = of(stem).and_then(|component| checkpoint.components().get(&component));
        for (tensor, fold) in TENSORS.iter().filter_map(|t| Some((t, balance.fold(t)?))) {
            let path = format!("{path}.{tensor}");
            let shape = tensors.and_then(|all| all.tensors.get(&path)).map(|t| &t.shape[..]);
            let axis = usize::from(fold.axis == Axis::Columns);
            let expected = shape.and_then(|shape| shape.get(axis)).copied().unwrap_or_default();
            let found = fold.exponents.len();
            if expected != found {
                let submodule = stem.clone();
                return Err(TableError::Channels { submodule, path, expected, found });
            }
        }
    }
    Ok(())
}

fn balances(options: &ExportOptions) -> impl Iterator<Item = (&String, &String, &Balance)> {
    let table = match &options.calibration {
        Some(Calibration::Table(table)) => Some(table),
        _ => None,
    };
    let experts = table.into_iter().flat_map(|table| &table.balance);
    experts.flat_map(|(stem, all)| all.iter().map(move |(path, balance)| (stem, path, balance)))
}

fn of(stem: &str) -> Option<Component> {
    Submodule::from_stem(stem).map(Submodule::component)
}
