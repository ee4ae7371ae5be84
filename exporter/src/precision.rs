//! Calibration's policy and amax as the scales that graphs ask for.

use std::cell::RefCell;
use std::collections::BTreeSet;

use bernini_calibration::{Amax, CalibrationTable, Numbers, Policy};
use bernini_graphs::models::Configs;
use bernini_graphs::{Component, Fp8Policy, Fp8Scales, Submodule};

/// The scales of one submodule.
pub struct SubmoduleScales<'a> {
    submodule: Submodule,
    layers: usize,
    policy: &'a Policy,
    table: Option<&'a CalibrationTable>,
    /// Paths that the policy wants in FP8 and the table lacks.
    pub missing: RefCell<BTreeSet<String>>,
}

impl<'a> SubmoduleScales<'a> {
    /// Scales from `table`, or constants without one.
    pub fn new(
        submodule: Submodule,
        configs: &Configs,
        policy: &'a Policy,
        table: Option<&'a CalibrationTable>,
    ) -> Self {
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
        Self { submodule, layers, policy, table, missing: RefCell::default() }
    }
}

impl Fp8Policy for SubmoduleScales<'_> {
    fn scales(&self, path: &str) -> Option<Fp8Scales> {
        let stem = self.submodule.stem();
        if self.policy.numbers(stem, path, self.layers) == Numbers::Bf16 {
            return None;
        }
        let amax = match self.table {
            None => Some(Amax::SYNTHETIC),
            Some(table) => table.amax(stem, path),
        };
        if amax.is_none() {
            self.missing.borrow_mut().insert(format!("{stem}: {path}"));
        }
        let (input, weight) = amax?.scales();
        Some(Fp8Scales { input, weight })
    }
}
