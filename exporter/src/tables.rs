//! Tensors that are read by row at run time and belong to no graph (design §3).

use bernini_graphs::Component;
use bernini_graphs::manifest::{MASK_TOKEN, PLANNER_EMBEDDINGS, TEXT_EMBEDDINGS};
use bernini_graphs::models::Configs;

use crate::checkpoint::Checkpoint;

/// One table of an export.
pub struct Table {
    /// File stem below `tables/`.
    pub name: &'static str,
    /// Component whose tensor it is.
    pub component: Component,
    /// Names that the tensor may have in the checkpoint, the preferred one first.
    pub tensors: &'static [&'static str],
    /// Shape in the checkpoint.
    pub stored: Vec<usize>,
    /// Rows and columns that the export holds.
    pub shape: [usize; 2],
}

impl Table {
    /// Path below the export.
    pub fn file(&self) -> String {
        format!("tables/{}.safetensors", self.name)
    }
}

/// The tables of `checkpoint`.
pub fn of(checkpoint: &Checkpoint) -> Vec<Table> {
    let rows = checkpoint.package().map_or(0, |package| package.mask_tokens);
    all(checkpoint.configs(), rows)
}

/// The tables of a checkpoint with `mask_tokens` rows of that tensor, in pipeline order.
pub fn all(configs: &Configs, mask_tokens: usize) -> Vec<Table> {
    let embedding = |name, component, tensors, shape: [usize; 2]| Table {
        name,
        component,
        tensors,
        stored: shape.into(),
        shape,
    };
    let mut tables = vec![];
    if let Some(planner) = &configs.planner {
        let (rows, width) = (planner.lm.vocab_size, planner.lm.hidden_size);
        let names = &["model.embed_tokens.weight"];
        tables.push(embedding(PLANNER_EMBEDDINGS, Component::PlannerLm, names, [rows, width]));
        tables.push(Table {
            stored: vec![1, mask_tokens, width],
            ..embedding(MASK_TOKEN, Component::MaskTokens, &["mask_tokens"], [1, width])
        });
    }
    let names = &["shared.weight", "encoder.embed_tokens.weight"];
    let shape = [configs.text_encoder.vocab_size, configs.text_encoder.d_model];
    tables.push(embedding(TEXT_EMBEDDINGS, Component::TextEncoder, names, shape));
    tables
}
