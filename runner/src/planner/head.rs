//! Draws the embeddings of revealed tokens: `pred_vit`, then the flow head (spec D.7, D.9).

use bernini_graphs::Submodule;
use bernini_graphs::submodule::{connector, flow_head};
use ndarray::{Array2, ArrayView2, Axis, concatenate};

use super::flow_schedule::{FlowSchedule, HeadGuidance, sinusoid};
use crate::backend::{Backend, BackendError, Session};
use crate::tensor::Tensor;

/// Width of the sinusoid of t.
const FREQ_DIM: usize = 256;

/// The flow head and the connector that feeds it, loaded.
pub(super) struct Head {
    pred_vit: Box<dyn Session>,
    flow_head: Box<dyn Session>,
}

/// How embeddings are drawn.
pub(super) struct Sampler {
    schedule: FlowSchedule,
    /// The sinusoid `[1, FREQ_DIM]` of every step.
    t_embeds: Vec<Tensor>,
    pub(super) guidance: HeadGuidance,
}

impl Sampler {
    pub(super) fn new(schedule: FlowSchedule, guidance: HeadGuidance) -> Self {
        let steps = schedule.steps().iter();
        let t_embeds = steps.map(|step| sinusoid(step.t, FREQ_DIM).into()).collect();
        Self { schedule, t_embeds, guidance }
    }
}

impl Head {
    pub(super) fn load(backend: &dyn Backend) -> Result<Self, BackendError> {
        Ok(Self {
            pred_vit: backend.load(Submodule::PredVit)?,
            flow_head: backend.load(Submodule::FlowHead)?,
        })
    }

    /// Embeddings `[rows, channels]` from `noise` of that shape and the hidden states
    /// `[rows, hidden_size]` of each branch of the guidance. Branches run as one batch.
    pub(super) fn draw(
        &mut self,
        sampler: &Sampler,
        noise: Array2<f32>,
        hidden: &[ArrayView2<'_, f32>],
    ) -> Result<Array2<f32>, BackendError> {
        let hidden = join(hidden);
        let cond = self.pred_vit.run(&[(connector::HIDDEN, &hidden)])?.take(connector::COND)?;
        let (mut x, branches) = (noise, sampler.guidance.branches.len());
        for (step, t_embed) in sampler.schedule.steps().iter().zip(&sampler.t_embeds) {
            let same = join(&vec![x.view(); branches]);
            let inputs =
                [(flow_head::X, &same), (flow_head::T_EMBED, t_embed), (flow_head::COND, &cond)];
            let velocity: Array2<f32> =
                self.flow_head.run(&inputs)?.take_f32(flow_head::VELOCITY)?;
            let parts: Vec<_> = velocity.axis_chunks_iter(Axis(0), x.nrows().max(1)).collect();
            let guided = sampler.guidance.combine(&parts);
            let guided = guided.expect("invariant: one velocity per branch of the guidance");
            step.advance(&mut x, guided.view());
        }
        Ok(x)
    }
}

fn join(parts: &[ArrayView2<'_, f32>]) -> Tensor {
    concatenate(Axis(0), parts).expect("invariant: parts of one width").into()
}
