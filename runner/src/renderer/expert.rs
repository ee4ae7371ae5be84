//! One diffusion expert: its graph, and the cross-attention keys and values of each context.

use bernini_graphs::Submodule;
use bernini_graphs::config::TransformerConfig;
use bernini_graphs::submodule::transformer::{
    CONTEXT, KEYS, ROPE_COS, ROPE_SIN, T_EMBED, TOKENS, VALUES, VELOCITY,
};
use ndarray::{Array2, Array4, Axis};

use super::sources::Tokens;
use crate::backend::{Backend, BackendError, Session};
use crate::latents::unpack;
use crate::tensor::Tensor;

/// Which of the two experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Noise {
    /// `transformer`: timesteps from the boundary on.
    High,
    /// `transformer_2`: timesteps below it.
    Low,
}

impl Noise {
    /// The submodule of every step.
    pub fn transformer(self) -> Submodule {
        match self {
            Self::High => Submodule::Transformer,
            Self::Low => Submodule::Transformer2,
        }
    }

    /// The submodule of every context.
    pub fn context(self) -> Submodule {
        match self {
            Self::High => Submodule::TransformerContext,
            Self::Low => Submodule::Transformer2Context,
        }
    }
}

/// Cross-attention keys and values of one context, `[layers, 1, heads, rows, head_dim]` each.
pub struct ExpertContext {
    keys: Tensor,
    values: Tensor,
}

impl ExpertContext {
    /// Computes them from text hidden states `[rows, text_dim]`, zero rows included.
    pub fn new(session: &mut dyn Session, context: &Array2<f32>) -> Result<Self, BackendError> {
        let context = Tensor::from(context.clone().insert_axis(Axis(0)));
        let mut outputs = session.run(&[(CONTEXT, &context)])?;
        Ok(Self { keys: outputs.take(KEYS)?, values: outputs.take(VALUES)? })
    }

    /// Keeps everything where sessions of `backend` read it.
    pub fn resident(self, backend: &dyn Backend) -> Result<Self, BackendError> {
        let [keys, values] = [self.keys, self.values].map(|tensor| backend.resident(tensor));
        Ok(Self { keys: keys?, values: values? })
    }
}

/// A loaded expert.
pub struct Expert {
    session: Box<dyn Session>,
    freq_dim: usize,
}

impl Expert {
    /// Loads the graph of `noise`.
    pub fn load(
        backend: &dyn Backend,
        noise: Noise,
        config: &TransformerConfig,
    ) -> Result<Self, BackendError> {
        Ok(Self { session: backend.load(noise.transformer())?, freq_dim: config.freq_dim })
    }

    /// Velocity f32 `[16, t, 2h, 2w]` of the noisy latents, `packed` `[target, 64]`, at `timestep`.
    pub fn velocity(
        &mut self,
        packed: &Array2<f32>,
        tokens: &Tokens,
        timestep: f32,
        context: &ExpertContext,
    ) -> Result<Array4<f32>, BackendError> {
        let sequence = tokens.sequence(packed);
        let t_embed = timestep_embedding(timestep, self.freq_dim);
        let mut outputs = self.session.run(&[
            (TOKENS, &sequence),
            (T_EMBED, &t_embed),
            (ROPE_COS, &tokens.rope_cos),
            (ROPE_SIN, &tokens.rope_sin),
            (KEYS, &context.keys),
            (VALUES, &context.values),
        ])?;
        let velocity = outputs.take_f32_rows(VELOCITY, tokens.target.tokens())?;
        Ok(unpack(velocity.view(), tokens.target))
    }
}

/// `[1, dim]`: cosines, then sines, of t·10000^(−k/half) (spec B.4).
///
/// In f32 like the reference: at t near 1000 the rounding of the angle shows in the velocity.
fn timestep_embedding(timestep: f32, dim: usize) -> Tensor {
    let half = dim / 2;
    let angle = |k: usize| timestep * (-(10000.0f64.ln()) as f32 * k as f32 / half as f32).exp();
    Array2::from_shape_fn(
        (1, dim),
        |(_, i)| {
            if i < half { angle(i).cos() } else { angle(i - half).sin() }
        },
    )
    .into()
}
