//! Measures what FP8 scales are made from: runs the pipeline on graphs with amax taps
//! (`export --taps amax`, or `statistics`) and keeps what every linear layer and attention meets.

mod attention;
mod centering;
mod measurements;
mod met;
mod taps;

use bernini_graphs::manifest::PortEntry;
use bernini_graphs::taps::{ABOVE, AMAX, AMAX_CENTERED_K};
use bernini_graphs::{DType, Submodule};

pub use centering::Centering;
pub use measurements::Measurements;

use crate::backend::{Backend, BackendError, DeviceUse, Outputs, Session};
use crate::device::DeviceTensor;
use crate::guidance::Branch;
use crate::package::Package;
use crate::request::{Plan, Request};
use crate::tensor::Tensor;

/// Whether a graph with these outputs says what enters its linear layers.
pub fn is_tapped(outputs: &[PortEntry]) -> bool {
    outputs.iter().any(|port| port.name.starts_with(AMAX))
}

/// Whether a graph with these outputs has what a percentile or the least error is chosen from.
pub fn has_statistics(outputs: &[PortEntry]) -> bool {
    outputs.iter().any(|port| port.name.starts_with(ABOVE))
}

/// Whether a graph with these outputs says what its keys are less their mean.
pub fn measures_centered_keys(outputs: &[PortEntry]) -> bool {
    outputs.iter().any(|port| port.name.starts_with(AMAX_CENTERED_K))
}

/// A backend whose sessions keep to the contract and put their taps into `measurements`.
pub struct Calibrating<B> {
    backend: B,
    measurements: Measurements,
}

impl<B: Backend> Calibrating<B> {
    /// Wraps `backend`, which runs graphs with amax taps.
    pub fn new(backend: B, measurements: Measurements) -> Self {
        Self { backend, measurements }
    }
}

impl<B: Backend> Backend for Calibrating<B> {
    fn load(&self, submodule: Submodule) -> Result<Box<dyn Session>, BackendError> {
        let (session, measurements) = (self.backend.load(submodule)?, self.measurements.clone());
        Ok(Box::new(CalibratingSession { submodule, session, measurements }))
    }

    fn check(&self, request: &Request, plan: &Plan, package: &Package) -> Result<(), BackendError> {
        self.backend.check(request, plan, package)
    }

    fn resident(&self, tensor: Tensor) -> Result<Tensor, BackendError> {
        self.backend.resident(tensor)
    }

    fn begin_branch(&self, branch: Branch) {
        self.measurements.begin_branch(branch);
        self.backend.begin_branch(branch);
    }

    fn device_use(&self) -> Result<Option<DeviceUse>, BackendError> {
        self.backend.device_use()
    }
}

struct CalibratingSession {
    submodule: Submodule,
    session: Box<dyn Session>,
    measurements: Measurements,
}

impl Session for CalibratingSession {
    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Outputs, BackendError> {
        let mut outputs = self.session.run(inputs)?;
        self.measurements.add(self.submodule, &mut outputs)?;
        Ok(outputs)
    }

    fn resident(&self, name: &str, tensor: Tensor) -> Result<Tensor, BackendError> {
        self.session.resident(name, tensor)
    }

    fn empty(
        &self,
        name: &str,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Option<DeviceTensor>, BackendError> {
        self.session.empty(name, dtype, shape)
    }
}
