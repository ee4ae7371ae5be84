//! One file per submodule; each reads like the block diagram.

pub mod connector;
pub mod dit;
pub mod dit_context;
pub mod flow_head;
pub mod planner_lm;
pub mod umt5;
pub mod vae;
mod vae_blocks;
pub mod vision;

use crate::config::{
    ConnectorConfig, FlowHeadConfig, PlannerConfig, TextEncoderConfig, TransformerConfig,
    VaeConfig, VisionConfig,
};
use crate::{BuildErrors, Checkpoint, Graph, GraphBuilder, Precision, Submodule, Taps};

/// The configs of the components that a checkpoint has graphs for.
#[derive(Clone, Debug)]
pub struct Configs {
    /// The planner's, which a renderer-only checkpoint lacks.
    pub planner: Option<PlannerConfigs>,
    /// UMT5.
    pub text_encoder: TextEncoderConfig,
    /// The high-noise expert.
    pub transformer: TransformerConfig,
    /// The low-noise expert.
    pub transformer_2: TransformerConfig,
    /// The VAE.
    pub vae: VaeConfig,
}

/// The configs of the planner's components.
#[derive(Clone, Debug)]
pub struct PlannerConfigs {
    /// Vision tower.
    pub vision: VisionConfig,
    /// Language model.
    pub lm: PlannerConfig,
    /// Connector.
    pub connector: ConnectorConfig,
    /// Flow-matching head.
    pub flow_head: FlowHeadConfig,
}

impl Configs {
    /// The submodules that a checkpoint with these configs has, in pipeline order.
    pub fn submodules(&self) -> impl Iterator<Item = Submodule> + use<> {
        let full = self.planner.is_some();
        Submodule::ALL.into_iter().filter(move |s| full || !s.component().is_planner())
    }
}

/// Traces one submodule against the tensors of its component.
///
/// `taps` adds outputs to those of the contract.
///
/// # Panics
/// For a submodule of the planner where `configs` has none; see [`Configs::submodules`].
pub fn build(
    submodule: Submodule,
    configs: &Configs,
    checkpoint: &dyn Checkpoint,
    precision: Precision<'_>,
    taps: Taps,
) -> Result<Graph, BuildErrors> {
    let g = GraphBuilder::new(submodule.stem(), checkpoint, precision).with_taps(taps);
    let planner =
        || configs.planner.as_ref().expect("invariant: only a full checkpoint has a planner");
    match submodule {
        Submodule::Vision => vision::vision(&g, &planner().vision),
        Submodule::PlannerLm => planner_lm::planner_lm(&g, &planner().lm),
        Submodule::PredVit => connector::pred_vit(&g, &planner().lm, &planner().connector),
        Submodule::FlowHeadModulation => flow_head::modulation(&g, &planner().flow_head),
        Submodule::FlowHead => flow_head::flow_head(&g, &planner().flow_head),
        Submodule::ProjGen => connector::proj_gen(&g, &planner().lm, &planner().connector),
        Submodule::TextEncoder => umt5::text_encoder(&g, &configs.text_encoder),
        Submodule::TransformerContext => dit_context::transformer_context(&g, &configs.transformer),
        Submodule::Transformer => dit::transformer(&g, &configs.transformer),
        Submodule::Transformer2Context => {
            dit_context::transformer_context(&g, &configs.transformer_2);
        }
        Submodule::Transformer2 => dit::transformer(&g, &configs.transformer_2),
        Submodule::VaeEncoderFirst => vae::encoder(&g, &configs.vae, vae::Position::First),
        Submodule::VaeEncoderNext => vae::encoder(&g, &configs.vae, vae::Position::Next),
        Submodule::VaeDecoderFirst => vae::decoder(&g, &configs.vae, vae::Position::First),
        Submodule::VaeDecoderNext => vae::decoder(&g, &configs.vae, vae::Position::Next),
    }
    g.finish()
}
