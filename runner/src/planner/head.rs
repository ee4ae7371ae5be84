//! Draws the embeddings of revealed tokens: `pred_vit`, then the flow head (spec D.7, D.9).

use bernini_graphs::Submodule;
use bernini_graphs::submodule::{connector, flow_head};
use ndarray::{Array2, Axis, Slice, concatenate};

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
    pub(super) schedule: FlowSchedule,
    pub(super) guidance: HeadGuidance,
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
        hidden: &[Array2<f32>],
    ) -> Result<Array2<f32>, BackendError> {
        let hidden = Tensor::from(join(hidden));
        let cond = self.pred_vit.run(&[(connector::HIDDEN, &hidden)])?.take(connector::COND)?;
        let (mut x, rows) = (noise, sampler.guidance.branches.len());
        for step in sampler.schedule.steps() {
            let same = Tensor::from(join(&vec![x.clone(); rows]));
            let t_embed = Tensor::from(sinusoid(step.t, FREQ_DIM));
            let inputs =
                [(flow_head::X, &same), (flow_head::T_EMBED, &t_embed), (flow_head::COND, &cond)];
            let velocity: Array2<f32> =
                self.flow_head.run(&inputs)?.take_f32(flow_head::VELOCITY)?;
            let parts: Vec<_> = (0..rows)
                .map(|i| Slice::from(i * x.nrows()..(i + 1) * x.nrows()))
                .map(|part| velocity.slice_axis(Axis(0), part).to_owned())
                .collect();
            let guided = sampler.guidance.combine(&parts);
            let guided = guided.expect("invariant: one velocity per branch of the guidance");
            step.advance(&mut x, guided.view());
        }
        Ok(x)
    }
}

fn join(parts: &[Array2<f32>]) -> Array2<f32> {
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    concatenate(Axis(0), &views).expect("invariant: parts of one width")
}
