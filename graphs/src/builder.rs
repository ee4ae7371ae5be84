//! Traces a model into a [`Graph`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::Location;

use crate::dim::show;
use crate::graph::{Attribute, Data, Layout, Magnitudes, Node, Weight};
use crate::taps::{
    ABOVE, AMAX, AMAX_CENTERED_K, AMAX_COLUMNS, AMAX_K, AMAX_Q, AMAX_ROWS, AMAX_V, ROUNDING, VALUE,
};
use crate::{
    BuildError, BuildErrors, DType, Dim, Graph, Initializer, Port, Precision, Scope, Taps, Value,
};

/// What the builder needs to know of a checkpoint: shapes by name, as a header answers it.
pub trait Checkpoint {
    /// Shape of the tensor called `name` (without the submodule's prefix), if there is one.
    fn shape(&self, name: &str) -> Option<&[usize]>;
}

impl Checkpoint for BTreeMap<String, Vec<usize>> {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.get(name).map(Vec::as_slice)
    }
}

/// A graph under construction.
///
/// Mistakes are collected, not thrown: a bad operation records what it expected and returns a
/// poisoned [`Value`] that silences its followers, so that one run reports every mistake.
pub struct GraphBuilder<'c> {
    pub(crate) precision: Precision<'c>,
    checkpoint: &'c dyn Checkpoint,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    graph: Option<Graph>,
    ports: Vec<Port>,
    constants: HashMap<(DType, Vec<usize>, Vec<u8>), u32>,
    weights: HashMap<String, u32>,
    derived: HashMap<String, u32>,
    dequantized: BTreeSet<u32>,
    names: HashMap<String, usize>,
    errors: Vec<BuildError>,
    tensors: BTreeSet<String>,
    path: String,
    taps: Taps,
}

/// Operands that an operation refuses: what it takes and what it got.
pub(crate) struct Mismatch {
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl Mismatch {
    pub(crate) fn new(expected: impl ToString, found: impl ToString) -> Self {
        Self { expected: expected.to_string(), found: found.to_string() }
    }
}

/// Type and shape of an operation's output, or why it has none.
pub(crate) type Fact = Result<(DType, Vec<Dim>), Mismatch>;

impl<'c> GraphBuilder<'c> {
    /// Starts the graph of the submodule called `name`.
    pub fn new(name: &str, checkpoint: &'c dyn Checkpoint, precision: Precision<'c>) -> Self {
        let graph = Graph {
            name: name.into(),
            inputs: vec![],
            outputs: vec![],
            nodes: vec![],
            initializers: vec![],
            tensors: BTreeSet::new(),
        };
        let state = RefCell::new(State { graph: Some(graph), ..State::default() });
        Self { precision, checkpoint, state }
    }

    /// Adds the outputs of `taps`.
    pub fn with_taps(self, taps: Taps) -> Self {
        self.state.borrow_mut().taps = taps;
        self
    }

    /// The root of the checkpoint's names.
    pub fn root(&self) -> Scope<'_> {
        Scope::root(self)
    }

    /// Declares an input.
    pub fn input(&self, name: &str, dtype: DType, shape: &[Dim]) -> Value<'_> {
        let port = Port { name: name.into(), dtype, shape: shape.to_vec() };
        self.with_graph(|graph| graph.inputs.push(port.clone()));
        self.value(port)
    }

    /// Declares `x` as the output called `name`, in `dtype`.
    pub fn output(&self, name: &str, x: Value<'_>, dtype: DType) {
        let x = x.cast(dtype);
        let Some(port) = x.port() else { return };
        let named = Port { name: name.into(), ..port.clone() };
        self.with_graph(|graph| {
            let node = Node {
                op: "Identity",
                inputs: vec![port.name],
                output: named.clone(),
                attributes: vec![],
            };
            graph.nodes.push(node);
            graph.outputs.push(named);
        });
    }

    /// Ends the trace: a graph without mistakes, or all of them.
    pub fn finish(self) -> Result<Graph, BuildErrors> {
        let state = self.state.into_inner();
        let mut graph = state.graph.expect("invariant: the graph is there until finish");
        if !state.errors.is_empty() {
            let (errors, requested) = (state.errors, state.tensors);
            return Err(BuildErrors { graph: graph.name, errors, requested });
        }
        graph.tensors = state.tensors;
        remove_unused(&mut graph);
        Ok(graph)
    }

    fn with_graph<T>(&self, f: impl FnOnce(&mut Graph) -> T) -> T {
        f(self.state.borrow_mut().graph.as_mut().expect("invariant: the graph is there"))
    }

    fn value(&self, port: Port) -> Value<'_> {
        let ports = &mut self.state.borrow_mut().ports;
        ports.push(port);
        Value::new(self, ports.len() as u32 - 1)
    }

    pub(crate) fn port(&self, id: u32) -> Port {
        self.state.borrow().ports[id as usize].clone()
    }

    pub(crate) fn enter(&self, path: &str) {
        self.state.borrow_mut().path = path.into();
    }

    pub(crate) fn tap(&self, name: &str, x: Value<'_>) {
        if self.state.borrow().taps == Taps::Values {
            self.output(&format!("{VALUE}{name}"), x, DType::F32);
        }
    }

    /// The largest magnitudes that the linear layer at `path` meets in `x` `[.., in]` and in its weight
    /// `shape` of that layout. The weight's are no work of the graph: TensorRT would keep a second
    /// copy of it for that.
    pub(crate) fn tap_amax(&self, path: &str, x: Value<'_>, shape: [usize; 2], layout: Layout) {
        if self.measures() {
            let last = x.shape().len().saturating_sub(1);
            self.tap_tensor(&format!("{AMAX}{path}"), x, &[last]);
            for (prefix, side, size) in [
                (AMAX_ROWS, Magnitudes::Rows, shape[0]),
                (AMAX_COLUMNS, Magnitudes::Columns, shape[1]),
            ] {
                let name = format!("{prefix}{path}");
                let tensor = format!("{path}.weight");
                let data = Weight { tensor, layout, scale: None, magnitudes: Some(side) };
                let data = Data::Weight(data);
                let x = self.initializer(format!("{name}.weight"), DType::F32, &[size], data);
                self.output(&name, x, DType::F32);
            }
        }
    }

    /// The largest magnitudes of the queries, keys and values `[1, heads, n, d]` of the attention at
    /// `path`.
    pub(crate) fn tap_attention_amax(&self, path: &str, qkv: [Value<'_>; 3]) {
        if self.measures() {
            for (prefix, x) in [AMAX_Q, AMAX_K, AMAX_V].into_iter().zip(qkv) {
                self.tap_tensor(&format!("{prefix}{path}"), x, &[1, 3]);
            }
        }
    }

    /// The largest magnitudes of the keys `[1, heads, n, d]` of the self attention at `path`, less
    /// their mean over tokens, which is taken in f32.
    pub(crate) fn tap_centered_keys(&self, path: &str, keys: Value<'_>) {
        if self.measures() {
            let amax = keys.to_f32().centered(2).amax(&[1, 3]);
            self.output(&format!("{AMAX_CENTERED_K}{path}"), amax, DType::F32);
        }
    }

    /// What an FP8 scale of `x`, whose axes `channels` are not tokens, is chosen from.
    fn tap_tensor(&self, name: &str, x: Value<'_>, channels: &[usize]) {
        self.output(name, x.amax(channels), DType::F32);
        if self.state.borrow().taps == Taps::Statistics {
            // Layers side by side read one tensor: its sums are computed once.
            let key = x.port().map(|port| port.name).unwrap_or_default();
            let above = self.once(&format!("above {key}"), || x.above());
            let rounding = self.once(&format!("rounding {key}"), || x.rounding());
            self.output(&format!("{ABOVE}{name}"), above, DType::F32);
            self.output(&format!("{ROUNDING}{name}"), rounding, DType::F32);
        }
    }

    fn measures(&self) -> bool {
        matches!(self.state.borrow().taps, Taps::Amax | Taps::Statistics)
    }

    /// Remembers that `x` are real values of an E4M3 tensor.
    pub(crate) fn mark_dequantized(&self, x: Value<'_>) {
        if x.port().is_some() {
            self.state.borrow_mut().dequantized.insert(x.id());
        }
    }

    /// Whether `x` are real values of an E4M3 tensor.
    pub(crate) fn is_dequantized(&self, x: Value<'_>) -> bool {
        x.port().is_some() && self.state.borrow().dequantized.contains(&x.id())
    }

    /// A name for the output of `op` in the current scope that no other node has.
    fn fresh_name(&self, op: &str) -> String {
        let mut state = self.state.borrow_mut();
        let name =
            if state.path.is_empty() { op.to_string() } else { format!("{}/{op}", state.path) };
        let count = state.names.entry(name.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { name } else { format!("{name}_{count}") }
    }

    #[track_caller]
    pub(crate) fn fail(&self, op: &'static str, mismatch: Mismatch) -> Value<'_> {
        let mut state = self.state.borrow_mut();
        let Mismatch { expected, found } = mismatch;
        let (path, location) = (state.path.clone(), Location::caller());
        state.errors.push(BuildError::Operands { path, op, location, expected, found });
        Value::poisoned(self)
    }

    /// Adds a node, unless an operand is poisoned or the op refuses its operands.
    #[track_caller]
    pub(crate) fn node(
        &self,
        op: &'static str,
        inputs: &[Value<'_>],
        attributes: &[(&'static str, Attribute)],
        fact: impl FnOnce(&[Port]) -> Fact,
    ) -> Value<'_> {
        let Some(ports) = inputs.iter().map(|v| v.port()).collect::<Option<Vec<_>>>() else {
            return Value::poisoned(self);
        };
        let (dtype, shape) = match fact(&ports) {
            Ok(fact) => fact,
            Err(mismatch) => return self.fail(op, mismatch),
        };
        let output = Port { name: self.fresh_name(op), dtype, shape };
        let inputs = ports.into_iter().map(|port| port.name).collect();
        let node = Node { op, inputs, output: output.clone(), attributes: attributes.to_vec() };
        self.with_graph(|graph| graph.nodes.push(node));
        self.value(output)
    }

    /// A small constant; equal constants are stored once.
    pub(crate) fn constant(&self, dtype: DType, shape: &[usize], bytes: Vec<u8>) -> Value<'_> {
        let key = (dtype, shape.to_vec(), bytes);
        if let Some(&id) = self.state.borrow().constants.get(&key) {
            return Value::new(self, id);
        }
        let name = format!("constant.{}", self.state.borrow().constants.len());
        let value = self.initializer(name, dtype, shape, Data::Inline(key.2.clone()));
        self.state.borrow_mut().constants.insert(key, value.id());
        value
    }

    fn initializer(&self, name: String, dtype: DType, shape: &[usize], data: Data) -> Value<'_> {
        let init = Initializer { name: name.clone(), dtype, shape: shape.to_vec(), data };
        self.with_graph(|graph| graph.initializers.push(init));
        let shape = shape.iter().map(|&n| n.into()).collect();
        self.value(Port { name, dtype, shape })
    }

    /// The checkpoint tensor `name`, which must have `shape`, seen as `view`.
    ///
    /// A missing or misshapen tensor is recorded and stood in for, so that one trace asks for
    /// every tensor of the model.
    pub(crate) fn weight(
        &self,
        name: &str,
        shape: &[usize],
        view: &[usize],
        dtype: DType,
        (layout, scale): (Layout, Option<f32>),
    ) -> Value<'_> {
        if let Some(&id) = self.state.borrow().weights.get(name) {
            return Value::new(self, id);
        }
        let error = self.contract_error(name, shape);
        self.state.borrow_mut().errors.extend(error);
        self.state.borrow_mut().tensors.insert(name.into());
        let data = Data::Weight(Weight { tensor: name.into(), layout, scale, magnitudes: None });
        let value = self.initializer(name.into(), dtype, view, data);
        self.state.borrow_mut().weights.insert(name.into(), value.id());
        value
    }

    fn contract_error(&self, name: &str, shape: &[usize]) -> Option<BuildError> {
        let (name, expected) = (name.to_string(), shape.to_vec());
        match self.checkpoint.shape(&name) {
            Some(found) if found == shape => None,
            Some(found) => Some(BuildError::WrongShape { name, expected, found: found.to_vec() }),
            None => Some(BuildError::MissingTensor { name, expected }),
        }
    }

    /// Makes a value once per key: the run-time sizes that several reshapes share.
    pub(crate) fn once<'g>(&'g self, key: &str, make: impl FnOnce() -> Value<'g>) -> Value<'g> {
        if let Some(&id) = self.state.borrow().derived.get(key) {
            return Value::new(self, id);
        }
        let value = make();
        if value.port().is_some() {
            self.state.borrow_mut().derived.insert(key.into(), value.id());
        }
        value
    }

    /// An input that has an axis of `n × symbol`: `(input, axis, n)`.
    pub(crate) fn find_symbol(&self, symbol: &str) -> Option<(Value<'_>, usize, i64)> {
        let inputs = self.with_graph(|graph| graph.inputs.clone());
        let (port, axis, n) = inputs.into_iter().find_map(|port| {
            let found = port.shape.iter().enumerate().find_map(|(axis, dim)| {
                let (n, name) = dim.scaled_symbol()?;
                (name == symbol).then_some((axis, n))
            })?;
            Some((port, found.0, found.1))
        })?;
        let id = self.state.borrow().ports.iter().position(|p| *p == port)?;
        Some((Value::new(self, id as u32), axis, n))
    }
}

/// Drops nodes and constants that lead to no output.
fn remove_unused(graph: &mut Graph) {
    let mut needed: BTreeSet<String> = graph.outputs.iter().map(|o| o.name.clone()).collect();
    for node in graph.nodes.iter().rev() {
        if needed.contains(&node.output.name) {
            needed.extend(node.inputs.iter().cloned());
        }
    }
    graph.nodes.retain(|node| needed.contains(&node.output.name));
    graph.initializers.retain(|init| needed.contains(&init.name));
}

/// Types and shapes of operands, as an error shows them.
pub(crate) fn show_ports(ports: &[Port]) -> String {
    let each: Vec<_> =
        ports.iter().map(|port| format!("{}{}", port.dtype, show(&port.shape))).collect();
    each.join(" and ")
}
