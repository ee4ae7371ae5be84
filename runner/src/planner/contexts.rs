//! From hidden states to rows of the renderer's contexts (spec D.8).

use std::ops::Range;

use bernini_graphs::submodule::connector::{HIDDEN, ROWS};
use ndarray::{Array2, Axis};

use super::PlannerError;
use super::language_model::Prefix;
use super::plan::{Branches, Planned, Planner};
use super::stream::Branch;
use crate::backend::BackendError;
use crate::tensor::Tensor;

impl Planner<'_> {
    /// The rows of all contexts; `hidden` are the rows of the finished target in the cond branch, and
    /// `embeds` begin with its embeddings. Waits for everything that was queued.
    pub(super) fn contexts(
        &mut self,
        branches: &Branches,
        prefix: &Prefix,
        hidden: (&Tensor, Range<usize>),
        embeds: &Tensor,
    ) -> Result<Planned, PlannerError> {
        let tokens = hidden.1.len();
        let [cond, uncond] = [Branch::Cond, Branch::Uncond].map(|b| branches.index(b));
        let stream = &branches.streams[cond];
        let start = |branch| branch * prefix.hidden.shape()[1];
        let (target, kept) = (stream.target.start, stream.prefix_len());
        let [before, after] = [0..target, target..kept]
            .map(|rows| (&prefix.hidden, start(cond) + rows.start..start(cond) + rows.end));
        let own = self.project(&[before, hidden, after])?;
        let outer = branches.streams[uncond].prefix_len();
        let negative = start(uncond)..start(uncond) + outer;
        let negative = self.project(&[(&prefix.hidden, negative)])?;

        let wtxt_wvit = first_rows(&own, stream.len())?;
        let others: Vec<_> = stream.prefix().collect();
        Ok(Planned {
            wtxt_wovit: wtxt_wvit.select(Axis(0), &others),
            wtxt_wvit,
            wotxt_wovit: first_rows(&negative, outer)?,
            target: first_rows(embeds, tokens)?,
            passes: self.language_model.passes,
        })
    }

    /// Queues `proj_gen` on hidden states that are gathered where they lie: rows of `parts`, one after
    /// the other.
    fn project(&mut self, parts: &[(&Tensor, Range<usize>)]) -> Result<Tensor, BackendError> {
        let count = parts.iter().map(|(_, rows)| rows.len()).sum();
        let size = [1, count, self.configs.lm.hidden_size];
        let (mut all, mut place) = (self.proj_gen.zeros(HIDDEN, &size)?, 0);
        for (tensor, rows) in parts {
            all.copy_rows(place, tensor, rows.clone())?;
            place += rows.len();
        }
        self.proj_gen.run(&[(HIDDEN, &all)])?.take(ROWS)
    }
}

/// The first `count` rows in host memory, counted over all axes but the last; waits for them.
fn first_rows(tensor: &Tensor, count: usize) -> Result<Array2<f32>, BackendError> {
    Ok(tensor.first_rows(count)?.expect("invariant: floats, and as many rows"))
}
