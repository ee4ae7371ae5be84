//! The host side of the planner (spec D): everything that needs no graph.
//!
//! [`QwenTokenizer`] and [`TokenStream`] turn a request into the tokens of each [`Branch`];
//! [`positions`], [`mrope`], [`prefix_bias`] and [`target_bias`] are what the language model
//! takes beside them; [`RevealSteps`] and [`FlowSchedule`] drive the MaskGIT loop and its head;
//! [`VisionIndex`] is what the vision tower takes beside patches; [`TargetGeometry`] says how
//! large the target is before any pixel is touched.

mod contexts;
mod error;
mod flow_schedule;
mod geometry;
mod head;
mod language_model;
mod mask;
mod maskgit;
mod plan;
mod positions;
mod stream;
mod tokenizer;
mod vision;
mod vision_tower;

pub use error::PlannerError;
pub use flow_schedule::{FlowSchedule, FlowStep, HeadGuidance, guidance_chain, sinusoids};
pub use geometry::{GeometryError, TargetGeometry, TargetRequest, vit_frames, vit_grid};
pub use mask::{MASKED, prefix_bias, target_bias};
pub use maskgit::{RevealSteps, reveal_order};
pub use plan::{Brief, Planned, Planner, PlannerSettings};
pub use positions::{mrope, positions};
pub use stream::{
    Branch, PlannerText, TokenStream, Visual, VisualBlock, VisualKind, system_sentence,
};
pub use tokenizer::{QwenTokenizer, QwenTokenizerError, SpecialTokens};
pub use vision::VisionIndex;
pub use vision_tower::VisionTower;
