//! What an export will write, decided before the first byte.

use std::collections::BTreeMap;

use bernini_graphs::manifest::{Fp8Entry, PrecisionName};
use bernini_graphs::models::build;
use bernini_graphs::{Component, DType, Data, ExternalData, Graph, Precision, Submodule};

use super::{ExportError, ExportOptions};
use crate::balance;
use crate::checkpoint::{Checkpoint, StoredType};
use crate::precision::SubmoduleScales;
use crate::tables::{self, Table};
use crate::weights::WeightsPlan;

/// A large file: tensors of one component, behind `head`.
pub struct PlannedFile {
    /// Path below the export.
    pub name: String,
    /// Component whose tensors it holds.
    pub component: Component,
    /// Name in the manifest's list of tables, of a table.
    pub table: Option<&'static str>,
    /// Bytes in front of the tensors.
    pub head: Vec<u8>,
    /// The tensors.
    pub plan: WeightsPlan,
}

/// A graph and its file's bytes.
pub struct PlannedGraph {
    /// The submodule.
    pub submodule: Submodule,
    /// The graph.
    pub graph: Graph,
    /// What of it runs in FP8.
    pub fp8: Fp8Entry,
    /// The ONNX file; empty before [`encode`].
    pub onnx: Vec<u8>,
}

/// Name of the file that holds a submodule's weights.
pub fn weights_name(submodule: Submodule) -> String {
    format!("{}.weights", submodule.weights_stem())
}

/// Traces all graphs in the precision that `options` names.
pub fn graphs(
    checkpoint: &Checkpoint,
    options: &ExportOptions,
) -> Result<Vec<PlannedGraph>, ExportError> {
    let configs = checkpoint.configs();
    let (mut graphs, mut missing) = (vec![], vec![]);
    for submodule in configs.submodules().filter(|submodule| options.includes(*submodule)) {
        let scales = SubmoduleScales::new(submodule, configs, options);
        let precision = match options.precision {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::Bf16 => Precision::Bf16,
            PrecisionName::Fp8 => Precision::Fp8(&scales),
            PrecisionName::Fp8F32 => Precision::Fp8F32(&scales),
        };
        let tensors = &checkpoint.components()[&submodule.component()];
        let graph = build(submodule, configs, tensors, precision, options.taps)?;
        scales.check_head_size()?;
        graphs.push(PlannedGraph { submodule, graph, fp8: scales.granted(), onnx: vec![] });
        missing.extend(scales.missing());
    }
    if !missing.is_empty() {
        return Err(ExportError::MissingAmax { layers: missing });
    }
    Ok(graphs)
}

/// Lays out the weights of `graphs`: one file per weights stem.
pub fn files(
    graphs: &[PlannedGraph],
    options: &ExportOptions,
) -> Result<Vec<PlannedFile>, ExportError> {
    let mut groups: BTreeMap<&str, Vec<(Submodule, &Graph)>> = BTreeMap::new();
    for PlannedGraph { submodule, graph, .. } in graphs {
        groups.entry(submodule.weights_stem()).or_default().push((*submodule, graph));
    }
    let file = |group: Vec<(Submodule, &Graph)>| {
        let name = weights_name(group[0].0);
        check_agreement(&name, &group)?;
        let component = group[0].0.component();
        let fold = |tensor: &str| balance::fold(options, component, tensor);
        let plan = WeightsPlan::new(group.iter().map(|(_, graph)| *graph), fold);
        Ok(PlannedFile { name, component, table: None, head: vec![], plan })
    };
    groups.into_values().map(file).collect()
}

/// Graphs that share a file must want every common initializer in the same form.
fn check_agreement(file: &str, group: &[(Submodule, &Graph)]) -> Result<(), ExportError> {
    let mut seen: BTreeMap<&str, (DType, &[usize], &Data)> = BTreeMap::new();
    for (init, _) in group.iter().flat_map(|(_, graph)| graph.weights()) {
        let form = (init.dtype, init.shape.as_slice(), &init.data);
        if *seen.entry(&init.name).or_insert(form) != form {
            let (file, name) = (file.into(), init.name.clone());
            return Err(ExportError::Conflict { file, name });
        }
    }
    Ok(())
}

/// Encodes `graphs` with the positions of `files`.
pub fn encode(graphs: &mut [PlannedGraph], files: &[PlannedFile]) {
    for planned in graphs {
        let location = weights_name(planned.submodule);
        let file = files.iter().find(|file| file.name == location);
        let offsets = file.map(|file| file.plan.offsets.clone()).unwrap_or_default();
        planned.onnx = planned.graph.encode(&ExternalData { location, offsets });
    }
}

/// The tables of `checkpoint` that go with the submodules of `options`.
pub fn tables(checkpoint: &Checkpoint, options: &ExportOptions) -> Vec<PlannedFile> {
    let tables = tables::of(checkpoint);
    let wanted = tables.iter().filter(|table| options.includes_any(table.component));
    wanted.map(|table| table_file(checkpoint, table, options.precision)).collect()
}

/// A table as a safetensors file with the tensor `weight`: f32 in an export for the CPU of an f32
/// or f16 checkpoint, else bf16.
fn table_file(checkpoint: &Checkpoint, table: &Table, precision: PrecisionName) -> PlannedFile {
    let tensors = &checkpoint.components()[&table.component].tensors;
    let source = table.tensors.iter().find_map(|name| Some((name, tensors.get(*name)?)));
    let (tensor, stored) = source.expect("invariant: inspection found the table");
    let dtype = match (precision.is_for_cpu(), stored.dtype) {
        (true, StoredType::F32 | StoredType::F16) => DType::F32,
        _ => DType::Bf16,
    };
    let elements = table.shape.iter().map(|&n| n as u64).product();
    let head = table_head(dtype, table.shape);
    let plan = WeightsPlan::table(tensor, dtype, elements, head.len() as u64);
    let (name, component) = (table.file(), table.component);
    PlannedFile { name, component, table: Some(table.name), head, plan }
}

/// Length and header of a safetensors file with one tensor; its data begins at a multiple of 64.
fn table_head(dtype: DType, shape: [usize; 2]) -> Vec<u8> {
    let name = if dtype == DType::F32 { "F32" } else { "BF16" };
    let bytes = shape[0] * shape[1] * dtype.bytes();
    let header =
        serde_json::json!({"weight": {"dtype": name, "shape": shape, "data_offsets": [0, bytes]}});
    let mut header = header.to_string().into_bytes();
    header.resize((header.len() + 8).next_multiple_of(64) - 8, b' ');
    [(header.len() as u64).to_le_bytes().as_slice(), &header].concat()
}
