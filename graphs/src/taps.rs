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
}

/// Whether the output called `name` is an extra one.
pub fn is_tap(name: &str) -> bool {
    [VALUE, AMAX, AMAX_ROWS, AMAX_COLUMNS, AMAX_Q, AMAX_K, AMAX_CENTERED_K, AMAX_V]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}
