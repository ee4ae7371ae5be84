//! Which attentions subtract the mean over tokens from their keys, from what was measured of both.

use std::collections::BTreeMap;

use bernini_calibration::centering::{WORTH_IT, noise_left};
use bernini_graphs::Submodule;

use super::measurements::Store;

/// Expert → path of an attention with centred keys → share of the noise in its scores that is left.
pub type Centering = BTreeMap<Submodule, BTreeMap<String, f32>>;

/// The attentions whose keys are worth centring.
pub fn choose(store: &Store) -> Centering {
    let mut chosen = Centering::new();
    for (&expert, attentions) in &store.attentions {
        for (path, met) in attentions.iter().filter(|(_, met)| !met.centered_keys.is_empty()) {
            let [q, k, _] = met.qkv.each_ref().map(|met| &met.amax[..]);
            let left = noise_left(q, k, &met.centered_keys);
            if left <= WORTH_IT {
                chosen.entry(expert).or_default().insert(path.clone(), left);
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use bernini_calibration::Method;

    use super::*;
    use crate::calibrate::Measurements;
    use crate::calibrate::measurements::tests::run;

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
            let table = measurements.table("", vec![], Method::Amax, false).unwrap();
            let amax = table.attention("transformer_2", path).unwrap();
            (amax.k, amax.center_keys)
        };
        let measurements = measured(5.0);
        assert_eq!(amax(&measurements, "a"), (12.0, false));
        let chosen = measurements.center_keys();
        let left = chosen[&Submodule::Transformer2]["a"];
        assert!((left - (53.0f32 / 148.0).sqrt()).abs() < 1e-6, "{left}");
        assert_eq!(chosen[&Submodule::Transformer2].len(), 1);
        assert_eq!(
            amax(&measurements, "a"),
            (12.0, true),
            "saturates neither with its mean nor without"
        );
        assert_eq!(amax(&measurements, "b"), (12.0, false));

        let little = measured(2.0);
        assert!(little.center_keys().is_empty());
        assert_eq!(amax(&little, "a"), (12.0, false));
    }
}
