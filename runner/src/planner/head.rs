//! Draws the embeddings of revealed tokens: `pred_vit`, then the flow head (spec D.7, D.9).

use bernini_graphs::Submodule;
use bernini_graphs::submodule::connector;
use bernini_graphs::submodule::flow_head::{
    COND, MAX_STEPS, MODULATION, NEXT, T_EMBED, WEIGHTS, X,
};
use ndarray::{Array2, Array3};

use super::flow_schedule::{FlowSchedule, FlowStep, HeadGuidance, sinusoids};
use crate::backend::{Backend, BackendError, Session};
use crate::tensor::Tensor;

/// Width of the sinusoid of t.
const FREQ_DIM: usize = 256;

/// The flow head and the connector that feeds it, loaded.
pub(super) struct Head {
    pred_vit: Box<dyn Session>,
    modulation: Box<dyn Session>,
    flow_head: Box<dyn Session>,
}

/// How embeddings are drawn: the steps, in groups that one run of the modulation serves.
pub(super) struct Sampler(Vec<Group>);

struct Group {
    /// Sinusoids `[steps, FREQ_DIM]` of the steps' times.
    t_embeds: Tensor,
    /// Of each step, `[batch, 1, 1]`: what each branch's velocity adds to x.
    weights: Vec<Tensor>,
}

impl Head {
    pub(super) fn load(backend: &dyn Backend) -> Result<Self, BackendError> {
        Ok(Self {
            pred_vit: backend.load(Submodule::PredVit)?,
            modulation: backend.load(Submodule::FlowHeadModulation)?,
            flow_head: backend.load(Submodule::FlowHead)?,
        })
    }

    /// Prepares draws.
    pub(super) fn sampler(
        &self,
        schedule: &FlowSchedule,
        guidance: &HeadGuidance,
    ) -> Result<Sampler, BackendError> {
        let branches = Array3::from_shape_fn((guidance.branches.len(), 1, 1), |(branch, ..)| {
            guidance.share(branch)
        });
        let group = |steps: &[FlowStep]| {
            let times: Vec<_> = steps.iter().map(|step| step.t).collect();
            let t_embeds = sinusoids(&times, FREQ_DIM).into();
            let t_embeds = self.modulation.resident(T_EMBED, t_embeds)?;
            let weights = steps.iter().map(|step| (&branches * step.size()).into()).collect();
            Ok(Group { t_embeds, weights })
        };
        let groups = schedule.steps().chunks(MAX_STEPS).map(group);
        Ok(Sampler(groups.collect::<Result<_, BackendError>>()?))
    }

    /// Queues a draw of embeddings f32 `[rows, channels]` from `noise` of that shape and the hidden
    /// states `[branches, rows, hidden_size]`; at most [`MAX_ROWS`] rows.
    ///
    /// [`MAX_ROWS`]: bernini_graphs::submodule::flow_head::MAX_ROWS
    pub(super) fn draw(
        &mut self,
        sampler: &Sampler,
        noise: Array2<f32>,
        hidden: &Tensor,
    ) -> Result<Tensor, BackendError> {
        let cond = self.pred_vit.run(&[(connector::HIDDEN, hidden)])?.take(connector::COND)?;
        let rows = noise.nrows();
        let mut x = self.flow_head.resident(X, noise.into())?;
        for Group { t_embeds, weights } in &sampler.0 {
            let inputs = [(T_EMBED, t_embeds), (COND, &cond)];
            let all = self.modulation.run(&inputs)?.take(MODULATION)?;
            for (i, weights) in weights.iter().enumerate() {
                let of_step = self.flow_head.select(MODULATION, &all, 0, &[i])?;
                let inputs = [(X, &x), (MODULATION, &of_step), (WEIGHTS, weights)];
                let next = self.flow_head.run(&inputs)?.take(NEXT)?;
                // In place: a recorded run knows where it reads.
                x.copy_rows(0, &next, 0..rows)?;
            }
        }
        Ok(x)
    }
}
