//! Two exports as one: what one of them has in place of the other's.

use bernini_graphs::Submodule;

use super::{Backend, BackendError, OnnxRuntime, Session};
use crate::export::Export;
use crate::package::Package;
use crate::request::{Plan, Request};

/// Runs on the CPU what `above` has, and the rest of `below`.
pub struct Overlay {
    below: OnnxRuntime,
    above: OnnxRuntime,
}

impl Overlay {
    /// Two exports of one checkpoint, of which `above` may have some submodules only.
    ///
    /// # Errors
    /// Those of [`OnnxRuntime::new`].
    pub fn new(below: Export, above: Export) -> Result<Self, BackendError> {
        Ok(Self { below: OnnxRuntime::new(below)?, above: OnnxRuntime::new(above)? })
    }
}

impl Backend for Overlay {
    fn load(&self, submodule: Submodule) -> Result<Box<dyn Session>, BackendError> {
        match self.above.load(submodule) {
            Err(BackendError::MissingSubmodule { .. }) => self.below.load(submodule),
            loaded => loaded,
        }
    }

    fn check(&self, request: &Request, plan: &Plan, package: &Package) -> Result<(), BackendError> {
        self.below.check(request, plan, package)
    }
}
