//! Extra outputs that a graph may have: what to look at besides its contract.

/// Prefix of a named intermediate value, f32 in its own shape.
pub const VALUE: &str = "tap.";
/// Prefix of the largest magnitudes that enter a linear layer, f32 `[in]`; the layer's path follows.
pub const AMAX: &str = "amax.";
/// Prefix of the largest magnitudes in each row of a linear layer's weight, f32 `[out]`.
pub const AMAX_ROWS: &str = "amax_rows.";
/// Prefix of the largest magnitudes in each column of a linear layer's weight, f32 `[in]`.
pub const AMAX_COLUMNS: &str = "amax_columns.";

/// Prefix of the largest magnitudes of an attention's queries as its products meet them, after norm
/// and rotation, f32 `[heads, head_dim]`; the attention's path follows.
pub const AMAX_Q: &str = "amax_q.";
/// Prefix of the largest magnitude of an attention's keys, likewise.
pub const AMAX_K: &str = "amax_k.";
/// Prefix of the largest magnitude of a self attention's keys less their mean over tokens, likewise.
pub const AMAX_CENTERED_K: &str = "amax_centered_k.";
/// Prefix of the largest magnitude of an attention's values, likewise.
pub const AMAX_V: &str = "amax_v.";

/// Prefix of how many values of a tensor are larger than each of [`EDGES`] in magnitude, f32
/// `[EDGES]`; the name of that tensor's amax tap follows. Exact below 2^24 a channel.
pub const ABOVE: &str = "above.";
/// Prefix of the sums of squared errors that a tensor has when it is rounded to E4M3, f32 `[STEPS]`,
/// where step j stands for the scale 2^(k + j / STEPS) / 448 with any k that saturates nothing: E4M3
/// is a float, so a factor of two in its scale changes no error but that of subnormal values. The
/// name of that tensor's amax tap follows.
pub const ROUNDING: &str = "rounding.";

/// How many magnitudes [`edges`] are: one below every value, and two an octave.
pub const EDGES: usize = 56;
/// How many scales an octave [`ROUNDING`] tries.
pub const STEPS: usize = 32;
/// Exponent of two of the first edge above zero; beyond the last one, 2^15, there is amax.
const FIRST_EDGE: f32 = -12.0;

/// The magnitudes of [`ABOVE`], smallest first; the first is -1, which all values are above.
pub fn edges() -> [f32; EDGES] {
    std::array::from_fn(|i| match i {
        0 => -1.0,
        i => (FIRST_EDGE + (i - 1) as f32 / 2.0).exp2(),
    })
}

/// Which extra outputs a graph has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taps {
    /// None: the contract alone.
    #[default]
    None,
    /// Every value that the model names with [`Scope::tap`](crate::Scope::tap).
    Values,
    /// Largest magnitudes, channel by channel, of input and weight of every linear layer that may run
    /// in FP8, and of queries, keys, centred keys and values of every attention that may.
    Amax,
    /// Those of `Amax`, and [`ABOVE`] and [`ROUNDING`] of every input, query, key and value: what a
    /// percentile or the least squared error is chosen from. More work and memory.
    Statistics,
}

/// Whether the output called `name` is an extra one.
pub fn is_tap(name: &str) -> bool {
    [VALUE, AMAX, AMAX_ROWS, AMAX_COLUMNS, AMAX_Q, AMAX_K, AMAX_CENTERED_K, AMAX_V, ABOVE, ROUNDING]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}
