//! TensorRT engines on one GPU: one stream, one activation buffer for all of them, and engines that
//! stay loaded between stages and requests while there is room.

mod binding;
mod checks;
mod error;
mod loaded;
mod needs;
mod plans;
pub(super) mod pool;
mod residency;
mod session;
mod shared;
mod sizes;
#[cfg(test)]
pub(crate) mod testing;

use std::rc::Rc;

use bernini_graphs::Submodule;
use bernini_tensorrt::cuda::Device;
use bernini_tensorrt::{PluginLibrary, Runtime, TensorRt as Library};

pub use error::EngineError;
pub use needs::check_engines;
use needs::loads;

use super::{Backend, BackendError, DeviceUse, Session};
use crate::device::Gpu;
use crate::engines::Engines;
use crate::package::Package;
use crate::request::{Plan, Request};
use crate::tensor::Tensor;
use checks::{check_calibrated, check_machine, check_plugin};
use session::TensorRtSession;
use shared::Shared;

/// What a user can choose about engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TensorRtOptions {
    /// Run engines whose FP8 scales were never measured.
    pub allow_uncalibrated: bool,
    /// Most bytes of GPU memory to use; all that is free where it is `None`.
    pub vram_limit: Option<u64>,
}

/// Runs the engines of a folder on the first GPU.
pub struct TensorRt {
    shared: Rc<Shared>,
}

impl TensorRt {
    /// Opens TensorRT and the GPU; engines are loaded one by one, when asked for.
    ///
    /// # Errors
    /// [`EngineError`] where the engines are uncalibrated, were built elsewhere or with another
    /// plugin, and those of opening the libraries.
    pub fn open(engines: Engines, options: TensorRtOptions) -> Result<Self, BackendError> {
        check_calibrated(&engines, options.allow_uncalibrated)?;
        let plugin = check_plugin(&engines, PluginLibrary::find()?)?;
        let library = Library::open()?;
        let device = Device::open(0)?;
        let version = library.version().to_string();
        check_machine(&engines, &version, device.name(), device.compute_capability())?;
        if let Some(plugin) = plugin {
            library.load_plugin(&plugin.path)?;
        }
        let runtime = Runtime::new(&library)?;
        let gpu = Gpu { stream: device.stream()?, device };
        let shared = Shared::new(engines, gpu, runtime, options.vram_limit)?;
        Ok(Self { shared: Rc::new(shared) })
    }
}

impl Backend for TensorRt {
    fn load(&self, submodule: Submodule) -> Result<Box<dyn Session>, BackendError> {
        let missing = BackendError::MissingSubmodule { submodule };
        let entry = self.shared.engines.engine(submodule).ok_or(missing)?;
        let loaded = self.shared.engine(submodule, entry)?;
        let (shared, entry) = (Rc::clone(&self.shared), entry.clone());
        Ok(Box::new(TensorRtSession::new(shared, submodule, entry, loaded)))
    }

    fn check(&self, request: &Request, plan: &Plan, package: &Package) -> Result<(), BackendError> {
        check_engines(request, plan, package, &self.shared.engines)
    }

    fn expect(&self, request: &Request, plan: &Plan, package: &Package) {
        // A request that cannot run says so where it is checked.
        if let Ok(needed) = loads(request, plan, package) {
            self.shared.expect(needed);
        }
    }

    fn resident(&self, tensor: Tensor) -> Result<Tensor, BackendError> {
        let dtype = tensor.dtype();
        Ok(Tensor::Device(self.shared.gpu.resident(tensor, dtype)?))
    }

    fn device_use(&self) -> Result<Option<DeviceUse>, BackendError> {
        self.shared.device_use().map(Some)
    }
}
