//! Which attentions subtract the mean over tokens from their keys, from what was measured of both.

use std::collections::BTreeMap;

use bernini_calibration::CalibrationTable;
use bernini_calibration::centering::{WORTH_IT, noise_left};
use bernini_graphs::Submodule;

use super::{Largest, Store};

/// Expert → path of an attention with centred keys → share of the noise in its scores that is left.
pub type Centering = BTreeMap<Submodule, BTreeMap<String, f32>>;

/// The attentions whose keys are worth centring.
pub fn choose(store: &Store) -> Centering {
    let mut chosen = Centering::new();
    for (&expert, attentions) in &store.centered_keys {
        for (path, [centered]) in attentions {
            let met = store.attentions.get(&expert).and_then(|all| all.get(path));
            let left = met.map_or(f32::NAN, |[q, k, _]| noise_left(q, k, centered));
            if left <= WORTH_IT {
                chosen.entry(expert).or_default().insert(path.clone(), left);
            }
        }
    }
    chosen
}

/// What all attentions met, with centred keys where that is chosen.
pub fn attentions(store: &Store) -> Largest<3> {
    let mut attentions = store.attentions.clone();
    for (expert, chosen) in &store.center_keys {
        for path in chosen.keys() {
            let met = attentions.get_mut(expert).and_then(|all| all.get_mut(path));
            let centered = store.centered_keys.get(expert).and_then(|all| all.get(path));
            if let (Some([_, k, _]), Some([centered])) = (met, centered) {
                k.clone_from(centered);
            }
        }
    }
    attentions
}

/// Notes in `table` where keys are centred.
pub fn mark(table: &mut CalibrationTable, store: &Store) {
    for (expert, chosen) in &store.center_keys {
        let attentions = table.attention.get_mut(expert.stem()).into_iter().flatten();
        for (path, amax) in attentions {
            amax.center_keys = chosen.contains_key(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::Measurements;
    use crate::calibrate::tests::run;

    /// Two runs of an attention whose keys are less by `common` once centred, and of one that has no
    /// centred keys.
    fn measured(common: f32) -> Measurements {
        let measurements = Measurements::default();
        for size in [1.0, 2.0] {
            let shape = &[1, 2][..];
            let (q, k) = ([1.0, 1.0], [6.0 * size, size]);
            let centered = [6.0 * size - common, size];
            let taps: [(&str, &[usize], &[f32]); 7] = [
                ("amax_q.a", shape, &q),
                ("amax_k.a", shape, &k),
                ("amax_centered_k.a", shape, &centered),
                ("amax_v.a", shape, &[3.0, 3.0]),
                ("amax_q.b", shape, &q),
                ("amax_k.b", shape, &k),
                ("amax_v.b", shape, &[3.0, 3.0]),
            ];
            run(&measurements, Submodule::Transformer2, &taps);
        }
        measurements
    }

    #[test]
    fn keys_are_centred_on_request_where_it_pays() {
        let amax = |measurements: &Measurements, path| {
            let table = measurements.table("", vec![], false).unwrap();
            let amax = table.attention("transformer_2", path).unwrap();
            (amax.k, amax.center_keys)
        };
        let measurements = measured(5.0);
        assert_eq!(amax(&measurements, "a"), (12.0, false));
        let chosen = measurements.center_keys();
        let left = chosen[&Submodule::Transformer2]["a"];
        assert!((left - (53.0f32 / 148.0).sqrt()).abs() < 1e-6, "{left}");
        assert_eq!(chosen[&Submodule::Transformer2].len(), 1);
        assert_eq!(amax(&measurements, "a"), (7.0, true));
        assert_eq!(amax(&measurements, "b"), (12.0, false));

        let little = measured(2.0);
        assert!(little.center_keys().is_empty());
        assert_eq!(amax(&little, "a"), (12.0, false));
    }
}
