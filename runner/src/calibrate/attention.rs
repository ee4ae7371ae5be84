//! Re-balancing of one attention, from what its layers met by channel.

use bernini_calibration::balance::{Balance, exponents, scaled};
use bernini_calibration::{Amax, CalibrationTable};
use bernini_graphs::Submodule;

use super::measurements::Store;
use super::met::{larger, largest};
use super::taps::{Attention, Linear};

/// The factors of one attention, and what its layers meet behind them.
pub struct Choice {
    balance: Balance,
    /// Largest magnitudes of queries, keys and values.
    qkv: [f32; 3],
    /// Submodule that makes the values: the expert, or the graph of its context.
    source: Submodule,
    /// Largest magnitude in the weight of `to_v`.
    to_v: f32,
    /// Largest magnitudes of input and weight of `to_out.0`.
    to_out: (f32, f32),
}

impl Choice {
    /// For the attention at `path` of `expert`, and what it met; `None` where a layer beside it was
    /// not measured.
    pub fn new(
        store: &Store,
        expert: Submodule,
        path: &str,
        attention: &Attention,
    ) -> Option<Self> {
        let [q, _, v] = attention.qkv.each_ref().map(|met| &met.amax[..]);
        let k = &attention.keys(store.centers_keys(expert, path))[..];
        let measured = |submodule: Submodule, layer: &str| {
            store.linears.get(&submodule)?.get(&format!("{path}.{layer}"))
        };
        let Linear { input: out, columns, .. } = measured(expert, "to_out.0")?;
        let mut sources =
            Submodule::ALL.into_iter().filter(|s| s.component() == expert.component());
        let source = sources.find(|s| measured(*s, "to_v").is_some())?;
        let Linear { rows, .. } = measured(source, "to_v")?;
        // Self attention rotates its queries and keys, which cached keys do not know of.
        let rotated = (source == expert).then_some(attention.head_dim);
        let queries = match rotated {
            Some(head_dim) => exponents(&by_pair(q, head_dim), &by_pair(k, head_dim)),
            None => exponents(q, k),
        };
        let values = exponents(v, columns);
        let up = |amax: &[f32], exponents: &[i8]| largest(&scaled(amax, exponents.iter().copied()));
        let down =
            |amax: &[f32], exponents: &[i8]| largest(&scaled(amax, exponents.iter().map(|e| -e)));
        Some(Self {
            qkv: [up(q, &queries), down(k, &queries), up(v, &values)],
            source,
            to_v: up(rows, &values),
            to_out: (up(&out.amax, &values), down(columns, &values)),
            balance: Balance {
                queries: match rotated {
                    Some(head_dim) => interleaved(&queries, head_dim),
                    None => queries,
                },
                values,
            },
        })
    }

    /// Puts all of it into `table`.
    pub fn enter(self, table: &mut CalibrationTable, expert: Submodule, path: &str) {
        let (input, weight) = self.to_out;
        let layers = table.submodules.entry(expert.stem().into()).or_default();
        layers.insert(format!("{path}.to_out.0"), Amax { input, weight });
        let layers = table.submodules.entry(self.source.stem().into()).or_default();
        if let Some(to_v) = layers.get_mut(&format!("{path}.to_v")) {
            to_v.weight = self.to_v;
        }
        let stem = expert.stem().to_string();
        if let Some(amax) = table.attention.get_mut(&stem).and_then(|all| all.get_mut(path)) {
            [amax.q, amax.k, amax.v] = self.qkv;
        }
        table.balance.entry(stem).or_default().insert(path.into(), self.balance);
    }
}

/// The larger magnitude of the two channels that rotate together, c and c + head_dim / 2 of every
/// head, for both.
fn by_pair(amax: &[f32], head_dim: usize) -> Vec<f32> {
    let pair = |head: &[f32]| {
        let (first, second) = head.split_at(head.len() / 2);
        let pairs: Vec<f32> = first.iter().zip(second).map(|(a, b)| larger(*a, *b)).collect();
        pairs.repeat(2)
    };
    amax.chunks(head_dim).flat_map(pair).collect()
}

/// From the graph's order of channels, even ones of a head in front of odd ones, to the
/// checkpoint's.
fn interleaved(channels: &[i8], head_dim: usize) -> Vec<i8> {
    let head = |head: &[i8]| {
        let (even, odd) = head.split_at(head.len() / 2);
        even.iter().zip(odd).flat_map(|(even, odd)| [*even, *odd]).collect::<Vec<_>>()
    };
    channels.chunks(head_dim).flat_map(head).collect()
}

#[cfg(test)]
mod tests {
    use bernini_calibration::{AttentionAmax, Method};

    use super::*;
    use crate::calibrate::Measurements;
    use crate::calibrate::measurements::tests::run;

    /// Heads of four channels, two of them, of which the first is far from even.
    const Q: [f32; 8] = [1.0, 2.0, 4.0, 2.0, 3.0, 3.0, 3.0, 3.0];
    const K: [f32; 8] = [64.0, 2.0, 4.0, 2.0, 3.0, 3.0, 3.0, 3.0];
    const V: [f32; 8] = [16.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];

    fn table(values_from: Submodule) -> CalibrationTable {
        let measurements = Measurements::default();
        let expert = Submodule::Transformer;
        let one = [1.0; 8];
        run(
            &measurements,
            expert,
            &[
                ("amax_q.a", &[2, 4], &Q),
                ("amax_k.a", &[2, 4], &K),
                ("amax_v.a", &[2, 4], &V),
                ("amax.a.to_out.0", &[8], &V.map(|v| v / 2.0)),
                ("amax_rows.a.to_out.0", &[8], &one),
                ("amax_columns.a.to_out.0", &[8], &V.map(|v| 1.0 / v)),
            ],
        );
        run(
            &measurements,
            values_from,
            &[
                ("amax.a.to_v", &[8], &one),
                ("amax_rows.a.to_v", &[8], &V.map(|v| v / 8.0)),
                ("amax_columns.a.to_v", &[8], &one),
            ],
        );
        let plain = measurements.table("", vec![], Method::Amax, false).unwrap();
        assert!(plain.balance.is_empty());
        assert_eq!(plain.amax("transformer", "a.to_out.0").unwrap().input, 8.0);
        measurements.table("", vec![], Method::Amax, true).unwrap()
    }

    #[test]
    fn channels_that_rotate_together_have_one_factor() {
        let table = table(Submodule::Transformer);
        let balance = &table.balance["transformer"]["a"];
        // Pair (0, 2) of the graph, the largest of queries and keys, is (0, 1) of the checkpoint.
        assert_eq!(balance.queries, [0, 0, -2, -2, -2, -2, -2, -2]);
        assert_eq!(balance.values, [-2, 2, 2, 2, 2, 2, 2, 2]);
        let expected = AttentionAmax { q: 4.0, k: 64.0, v: 4.0, center_keys: false };
        assert_eq!(table.attention("transformer", "a"), Some(expected));
    }

    #[test]
    fn cached_keys_are_balanced_channel_by_channel_and_their_graph_knows() {
        let table = table(Submodule::TransformerContext);
        let balance = &table.balance["transformer"]["a"];
        assert_eq!(balance.queries, [1, -2, -2, -2, -2, -2, -2, -2]);
        let to_out = table.amax("transformer", "a.to_out.0").unwrap();
        assert_eq!((to_out.input, to_out.weight), (2.0, 0.25));
        assert_eq!(table.amax("transformer_context", "a.to_v").unwrap().weight, 0.5);
    }
}
