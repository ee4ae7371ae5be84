//! Calibration's policy and amax as the scales that graphs ask for.

use std::cell::RefCell;
use std::collections::BTreeSet;

use bernini_calibration::{Amax, AttentionAmax, CalibrationTable, Numbers, Policy};
use bernini_graphs::manifest::{Fp8Entry, PrecisionName};
use bernini_graphs::models::Configs;
use bernini_graphs::{
    Component, FP8_HEAD_DIM, Fp8AttentionScales, Fp8Policy, Fp8Scales, Submodule,
};

use crate::export::{Calibration, ExportError, ExportOptions};

/// The scales of one submodule.
pub struct SubmoduleScales<'a> {
    submodule: Submodule,
    layers: usize,
    /// Channels per head, where the FP8 node has no kernel for them.
    odd_head_dim: Option<usize>,
    policy: &'a Policy,
    table: Option<&'a CalibrationTable>,
    asked: RefCell<Asked>,
}

/// What a graph asked for, by path.
#[derive(Default)]
struct Asked {
    linears: BTreeSet<String>,
    attentions: BTreeSet<String>,
    centered: BTreeSet<String>,
    missing: BTreeSet<String>,
}

impl<'a> SubmoduleScales<'a> {
    /// Scales from the table of `options`, or constants without one.
    pub fn new(submodule: Submodule, configs: &Configs, options: &'a ExportOptions) -> Self {
        let planner = configs.planner.as_ref();
        let layers = match submodule.component() {
            Component::PlannerLm => planner.map_or(0, |planner| planner.lm.layers()),
            Component::Vision => planner.map_or(0, |planner| planner.vision.depth),
            Component::FlowHead => planner.map_or(0, |planner| planner.flow_head.depth),
            Component::TextEncoder => configs.text_encoder.num_layers,
            Component::Transformer => configs.transformer.num_layers,
            Component::Transformer2 => configs.transformer_2.num_layers,
            Component::Connector | Component::MaskTokens | Component::Vae => 0,
        };
        let head_dim = match submodule.component() {
            Component::Transformer => Some(configs.transformer.attention_head_dim),
            Component::Transformer2 => Some(configs.transformer_2.attention_head_dim),
            _ => None,
        };
        let node = options.precision == PrecisionName::Fp8;
        let odd_head_dim = head_dim.filter(|&found| node && found != FP8_HEAD_DIM);
        let table = match &options.calibration {
            Some(Calibration::Table(table)) => Some(table),
            _ => None,
        };
        let (policy, asked) = (&options.policy, RefCell::default());
        Self { submodule, layers, odd_head_dim, policy, table, asked }
    }

    /// Refuses a graph that was denied FP8 attention for the size of its heads.
    pub fn check_head_size(&self) -> Result<(), ExportError> {
        match self.odd_head_dim {
            Some(found) if !self.asked.borrow().attentions.is_empty() => {
                Err(ExportError::HeadSize { submodule: self.submodule, found })
            }
            _ => Ok(()),
        }
    }

    /// How many layers of the graph that was built with these scales run in FP8.
    pub fn granted(&self) -> Fp8Entry {
        let asked = self.asked.borrow();
        let [linears, attentions, centered] =
            [&asked.linears, &asked.attentions, &asked.centered].map(BTreeSet::len);
        Fp8Entry { linears, attentions, centered }
    }

    /// `submodule: path` of what that graph wanted in FP8 and the table lacks.
    pub fn missing(self) -> BTreeSet<String> {
        self.asked.into_inner().missing
    }

    /// amax of the linear layer at `path`.
    fn amax(&self, path: &str) -> Option<Amax> {
        match self.table {
            None => Some(Amax::SYNTHETIC),
            Some(table) => table.amax(self.submodule.stem(), path),
        }
    }

    /// `found`, which is noted as missing at `path` where there is none.
    fn needed<T>(&self, path: &str, found: Option<T>) -> Option<T> {
        if found.is_none() {
            let path = format!("{}: {path}", self.submodule);
            self.asked.borrow_mut().missing.insert(path);
        }
        found
    }
}

impl Fp8Policy for SubmoduleScales<'_> {
    fn scales(&self, path: &str) -> Option<Fp8Scales> {
        if self.policy.numbers(self.submodule.stem(), path, self.layers) == Numbers::Bf16 {
            return None;
        }
        let (input, weight) = self.needed(path, self.amax(path))?.scales();
        self.asked.borrow_mut().linears.insert(path.into());
        Some(Fp8Scales { input, weight })
    }

    fn attention(&self, path: &str) -> Option<Fp8AttentionScales> {
        let stem = self.submodule.stem();
        if self.policy.attention(stem, path, self.layers) == Numbers::Bf16 {
            return None;
        }
        let amax = match self.table {
            None => Some(AttentionAmax::SYNTHETIC),
            Some(table) => table.attention(stem, path),
        };
        let amax = self.needed(path, amax)?;
        let ([q, k, v], center_keys) = (amax.scales(), amax.center_keys);
        // What leaves the attention is what enters this layer, be it FP8 itself or bf16.
        let projection = format!("{path}.to_out.0");
        let (out, _) = self.needed(&projection, self.amax(&projection))?.scales();
        let mut asked = self.asked.borrow_mut();
        asked.attentions.insert(path.into());
        if center_keys {
            asked.centered.insert(path.into());
        }
        self.odd_head_dim.is_none().then_some(Fp8AttentionScales { q, k, v, out, center_keys })
    }
}
