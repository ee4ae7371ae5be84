//! The language model in two parts: each branch's prefix once, then the target against it
//! (spec D.5, D.6; design §6.1).

use bernini_graphs::Submodule;
use bernini_graphs::config::PlannerConfig;
use bernini_graphs::submodule::planner_lm::{
    BIAS, EMBEDS, HIDDEN, KEYS, PAST_KEYS, PAST_VALUES, ROPE_COS, ROPE_SIN, VALUES,
};
use ndarray::{Array2, Axis, stack};

use super::mask::{prefix_bias, target_bias};
use super::positions::{mrope, positions};
use super::stream::TokenStream;
use crate::backend::{Backend, BackendError, Outputs, Session};
use crate::rope::Rope;
use crate::tensor::Tensor;

/// The language model, loaded.
pub(super) struct LanguageModel {
    session: Box<dyn Session>,
    config: PlannerConfig,
    tokens_per_second: usize,
    /// Passes so far, of a prefix or a target, counted by branch.
    pub(super) passes: usize,
}

/// Tokens of several branches in a pass that may still run, padded to the longest.
pub(super) struct Prefix {
    /// `[layers, branches, kv_heads, longest, head_dim]`.
    keys: Tensor,
    /// `[layers, branches, kv_heads, longest, head_dim]`.
    values: Tensor,
    /// The residual stream before the last layer, f32 `[branches, longest, hidden_size]`.
    pub(super) hidden: Tensor,
}

/// What the target is run against: some branches of a prefix, and all else that stays the same
/// from pass to pass.
pub(super) struct Behind {
    past: [Tensor; 2],
    rope: [Tensor; 2],
    bias: Tensor,
}

impl LanguageModel {
    pub(super) fn load(
        backend: &dyn Backend,
        config: &PlannerConfig,
        tokens_per_second: usize,
    ) -> Result<Self, BackendError> {
        let session = backend.load(Submodule::PlannerLm)?;
        Ok(Self { session, config: config.clone(), tokens_per_second, passes: 0 })
    }

    /// Zeros f32 `[branches, tokens, hidden_size]` where passes read embeddings.
    pub(super) fn embeds(&self, branches: usize, tokens: usize) -> Result<Tensor, BackendError> {
        self.session.zeros(EMBEDS, &[branches, tokens, self.config.hidden_size])
    }

    /// Queues the prefixes of `streams`, whose embeddings are f32 `[branches, longest, hidden_size]`.
    pub(super) fn prefix(
        &mut self,
        streams: &[&TokenStream],
        embeds: &Tensor,
    ) -> Result<Prefix, BackendError> {
        let longest = embeds.shape()[1];
        let c = &self.config;
        let size = [c.layers(), streams.len(), c.num_key_value_heads, 0, c.head_dim()];
        let nothing = Tensor::zeros(&size);
        let rope = self.rope(streams, longest, |stream| stream.prefix().collect());
        let bias = prefix_bias(streams);
        let past = [nothing.clone(), nothing];
        let mut outputs = self.run(embeds, &Behind { past, rope, bias: bias.into() })?;
        Ok(Prefix {
            hidden: outputs.take(HIDDEN)?,
            keys: outputs.take(KEYS)?,
            values: outputs.take(VALUES)?,
        })
    }

    /// Prepares passes of the target of `streams`, which are the branches `chosen` of `prefix`.
    pub(super) fn behind(
        &self,
        streams: &[&TokenStream],
        chosen: &[usize],
        prefix: &Prefix,
    ) -> Result<Behind, BackendError> {
        let tokens = streams.iter().map(|stream| stream.target.range().len()).max().unwrap_or(0);
        let [cos, sin] = self.rope(streams, tokens, |stream| stream.target.range().collect());
        let bias = target_bias(streams, prefix.hidden.shape()[1]);
        let resident = |name, tensor| self.session.resident(name, tensor);
        let past = |name, of| self.session.select(name, of, 1, chosen);
        Ok(Behind {
            past: [past(PAST_KEYS, &prefix.keys)?, past(PAST_VALUES, &prefix.values)?],
            rope: [resident(ROPE_COS, cos)?, resident(ROPE_SIN, sin)?],
            bias: resident(BIAS, bias.into())?,
        })
    }

    /// Queues a pass of the target, whose embeddings are `[branches, target, hidden_size]`; hidden
    /// states f32 of the same shape.
    pub(super) fn target(
        &mut self,
        behind: &Behind,
        embeds: &Tensor,
    ) -> Result<Tensor, BackendError> {
        self.run(embeds, behind)?.take(HIDDEN)
    }

    /// The states of the tokens `rows` in every branch, where they were computed.
    pub(super) fn select(&self, hidden: &Tensor, rows: &[usize]) -> Result<Tensor, BackendError> {
        self.session.select(HIDDEN, hidden, 1, rows)
    }

    /// Rotary tables `[branches, longest, head_dim / 2]` of the tokens that `choose` picks.
    fn rope(
        &self,
        streams: &[&TokenStream],
        longest: usize,
        choose: impl Fn(&TokenStream) -> Vec<usize>,
    ) -> [Tensor; 2] {
        let c = &self.config;
        let tables: Vec<Rope> = streams
            .iter()
            .map(|stream| {
                let all = positions(stream, self.tokens_per_second);
                let mut chosen: Vec<_> =
                    choose(stream).into_iter().map(|token| all[token]).collect();
                chosen.resize(longest, [0; 3]);
                mrope(&chosen, c.head_dim(), c.rope_theta, c.rope_scaling.mrope_section)
            })
            .collect();
        let joined = |part: fn(&Rope) -> &Array2<f32>| {
            let views: Vec<_> = tables.iter().map(|table| part(table).view()).collect();
            Tensor::from(stack(Axis(0), &views).expect("invariant: tables of one size"))
        };
        [joined(|table| &table.cos), joined(|table| &table.sin)]
    }

    fn run(&mut self, embeds: &Tensor, behind: &Behind) -> Result<Outputs, BackendError> {
        self.passes += embeds.shape()[0];
        let Behind { past: [past_keys, past_values], rope: [cos, sin], bias } = behind;
        self.session.run(&[
            (EMBEDS, embeds),
            (ROPE_COS, cos),
            (ROPE_SIN, sin),
            (PAST_KEYS, past_keys),
            (PAST_VALUES, past_values),
            (BIAS, bias),
        ])
    }
}
