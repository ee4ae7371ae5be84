//! What the experts' cross-attention sees: text states, and behind them the planner's rows.

use ndarray::{Array2, Axis, concatenate};

use crate::guidance::Context;

/// Fewest rows of a context; shorter ones end in zero rows, which take part in attention (D.8).
const MIN_ROWS: usize = 512;

/// The contexts of a request, `[rows, text_dim]` each, with at least 512 rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Contexts {
    /// The negative prompt.
    pub negative: Array2<f32>,
    /// The prompt.
    pub positive: Array2<f32>,
    /// The prompt and the planned target; the prompt alone where nothing was planned.
    pub planned: Array2<f32>,
}

impl Contexts {
    /// The first context whose rows equal those of `context`: equal ones share keys and values.
    pub fn canonical(&self, context: Context) -> Context {
        let rows = self.get(context);
        let all = [Context::Negative, Context::Positive, Context::Planned];
        all.into_iter().find(|&other| self.get(other) == rows).unwrap_or(context)
    }

    /// The rows of one context.
    pub fn get(&self, context: Context) -> &Array2<f32> {
        match context {
            Context::Negative => &self.negative,
            Context::Positive => &self.positive,
            Context::Planned => &self.planned,
        }
    }
}

/// Text states, then the planner's rows, then zero rows.
pub fn padded(text: &Array2<f32>, planned: Option<&Array2<f32>>) -> Array2<f32> {
    let width = text.ncols();
    let rows = text.nrows() + planned.map_or(0, Array2::nrows);
    let padding = Array2::zeros((MIN_ROWS.saturating_sub(rows), width));
    let parts = [Some(text.view()), planned.map(|rows| rows.view()), Some(padding.view())];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    concatenate(Axis(0), &parts).expect("invariant: connector and text encoder have one width")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_that_coincide_are_one() {
        let [a, b] = [1.0, 2.0].map(|x| Array2::from_elem((2, 3), x));
        let contexts = Contexts { negative: a.clone(), positive: a, planned: b };
        assert_eq!(contexts.canonical(Context::Positive), Context::Negative);
        assert_eq!(contexts.canonical(Context::Planned), Context::Planned);
    }

    #[test]
    fn short_contexts_are_filled_with_zeros_and_long_ones_kept() {
        let text = Array2::from_elem((3, 2), 1.0);
        let short = padded(&text, None);
        assert_eq!((short.nrows(), short[[2, 1]], short[[3, 0]]), (512, 1.0, 0.0));
        let planned = Array2::from_elem((600, 2), 2.0);
        let long = padded(&text, Some(&planned));
        assert_eq!((long.nrows(), long[[2, 0]], long[[3, 0]]), (603, 1.0, 2.0));
    }
}
