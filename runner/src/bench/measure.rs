//! Runs one submodule again and again.

use std::collections::BTreeMap;
use std::time::Instant;

use bernini_graphs::manifest::{PortEntry, WorkEntry};

use super::{Job, Timing};
use crate::backend::{Backend, BackendError};
use crate::inputs;

/// What a manifest says of a submodule.
#[derive(Clone, Copy, Debug)]
pub struct Graph<'a> {
    /// What it takes.
    pub inputs: &'a [PortEntry],
    /// Its arithmetic.
    pub work: &'a WorkEntry,
}

/// How often a job runs.
#[derive(Clone, Copy, Debug)]
pub struct Repeat {
    /// Runs before those that count.
    pub warmup: usize,
    /// Runs that count.
    pub iterations: usize,
    /// Whether one run more is timed layer by layer.
    pub layers: bool,
}

/// Times a job: on a GPU by the GPU's own clock, else wall time.
///
/// `None` where the manifest's ports and the job's sizes do not go together.
pub fn measure(
    backend: &dyn Backend,
    graph: Graph<'_>,
    job: &Job,
    Repeat { warmup, iterations, layers }: Repeat,
) -> Result<Option<Timing>, BackendError> {
    let made_up = inputs::random(graph.inputs, &job.sizes);
    let flops = graph.work.flops(&job.sizes);
    let (Some(made_up), Some(flops)) = (made_up, flops) else { return Ok(None) };
    let mut session = backend.load(job.submodule)?;
    let tensors: BTreeMap<String, _> = made_up
        .into_iter()
        .map(|(name, tensor)| session.resident(&name, tensor).map(|tensor| (name, tensor)))
        .collect::<Result<_, _>>()?;
    let feed: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    backend.device_use()?;
    let mut milliseconds = vec![];
    for run in 0..warmup + iterations {
        let start = Instant::now();
        drop(session.run(&feed)?);
        let on_gpu = backend.device_use()?.and_then(|gpu| gpu.seconds.get(&job.submodule).copied());
        let seconds = on_gpu.unwrap_or_else(|| start.elapsed().as_secs_f64());
        if run >= warmup {
            milliseconds.push(1e3 * seconds);
        }
    }
    let layers = if layers { session.layers(&feed)? } else { vec![] };
    Ok(Some(Timing::new(job, flops, milliseconds, layers)))
}
