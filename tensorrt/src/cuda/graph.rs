//! Work of a stream, recorded once and queued again as one piece.

use cudarc::driver::{CudaGraph, sys};

use super::{Stream, primary::failed};
use crate::Error;

/// Kernels with their arguments, queued by one call: what takes the host longer to queue than the
/// GPU to run no longer waits for the host. Addresses are part of the record.
pub(crate) struct Graph(Option<CudaGraph>);

impl Stream {
    /// Records what `queue` queues, without running it. `None` if some of that cannot be recorded;
    /// the stream is as before then.
    pub(crate) fn record_graph(
        &self,
        queue: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Option<Graph>, Error> {
        let Some(stream) = self.driver() else { return Ok(queue().ok().map(|()| Graph(None))) };
        // Other threads allocate and copy meanwhile.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        stream.begin_capture(mode).map_err(failed("begin to record a graph"))?;
        let queued = queue();
        // Also ends the record of what failed.
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0));
        let recorded = queued.is_ok().then_some(graph.ok().flatten()).flatten();
        Ok(recorded.map(|graph| Graph(Some(graph))))
    }
}

impl Graph {
    /// Queues the work on the stream that it was recorded from.
    ///
    /// # Safety
    ///
    /// Everything that the recorded work uses must be alive until the stream was waited for.
    pub(crate) unsafe fn launch(&self) -> Result<(), Error> {
        self.0.as_ref().map_or(Ok(()), |graph| graph.launch().map_err(failed("run a graph")))
    }
}
