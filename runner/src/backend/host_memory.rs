//! Sessions whose tensors lie in memory that stands for a GPU's, as those of engines do: what the
//! pipeline does with tensors of a GPU can be compared with the reference on any machine.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bernini_graphs::{DType, Submodule};
use bernini_tensorrt::cuda::Device;

use super::tensorrt::pool::Pool;
use super::{Backend, BackendError, Outputs, Session};
use crate::device::{DeviceTensor, Gpu, Memory};
use crate::package::Package;
use crate::request::{Plan, Request};
use crate::tensor::Tensor;

/// Another backend, with all that goes in and comes out in such memory.
pub struct HostMemory<B> {
    backend: B,
    gpu: Gpu,
}

impl<B: Backend> HostMemory<B> {
    /// `backend` runs the graphs.
    pub fn new(backend: B) -> Result<Self, BackendError> {
        let device = Device::host_memory();
        let stream = device.stream()?;
        Ok(Self { backend, gpu: Gpu { device, stream } })
    }
}

impl<B: Backend> Backend for HostMemory<B> {
    fn load(&self, submodule: Submodule) -> Result<Box<dyn Session>, BackendError> {
        let session = self.backend.load(submodule)?;
        let (gpu, pools) = (self.gpu.clone(), RefCell::default());
        Ok(Box::new(HostMemorySession { session, submodule, gpu, pools }))
    }

    fn check(&self, request: &Request, plan: &Plan, package: &Package) -> Result<(), BackendError> {
        self.backend.check(request, plan, package)
    }

    fn resident(&self, tensor: Tensor) -> Result<Tensor, BackendError> {
        let dtype = tensor.dtype();
        Ok(Tensor::Device(self.gpu.resident(tensor, dtype)?))
    }
}

struct HostMemorySession {
    session: Box<dyn Session>,
    submodule: Submodule,
    gpu: Gpu,
    /// By port, as engines have them: memory is used again once nobody holds it.
    pools: RefCell<BTreeMap<String, Pool<Memory>>>,
}

impl Session for HostMemorySession {
    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Outputs, BackendError> {
        let on_host = |(name, tensor): &(_, &Tensor)| Ok((*name, (*tensor).clone().into_host()?));
        let inputs: Vec<(&str, Tensor)> =
            inputs.iter().map(on_host).collect::<Result<_, BackendError>>()?;
        let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let outputs = self.session.run(&inputs)?.take_prefixed("");
        let outputs = outputs.into_iter().map(|(name, tensor)| {
            let tensor = self.resident(&name, tensor)?;
            Ok((name, tensor))
        });
        Ok(Outputs::new(self.submodule, outputs.collect::<Result<_, BackendError>>()?))
    }

    fn resident(&self, name: &str, tensor: Tensor) -> Result<Tensor, BackendError> {
        if matches!(tensor, Tensor::Device(_)) {
            return Ok(tensor);
        }
        let resident = self.take(name, tensor.dtype(), tensor.shape())?;
        self.gpu.upload(&tensor, tensor.dtype(), &resident.memory().buffer)?;
        Ok(Tensor::Device(resident))
    }

    fn empty(
        &self,
        name: &str,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Option<DeviceTensor>, BackendError> {
        self.take(name, dtype, shape).map(Some)
    }
}

impl HostMemorySession {
    fn take(
        &self,
        port: &str,
        dtype: DType,
        shape: &[usize],
    ) -> Result<DeviceTensor, BackendError> {
        let bytes = shape.iter().product::<usize>() * dtype.bytes();
        let mut pools = self.pools.borrow_mut();
        let pool = pools.entry(port.into()).or_default();
        let memory = pool.take(bytes, |bytes| self.gpu.allocate(bytes))?;
        Ok(DeviceTensor::new(dtype, shape.to_vec(), memory))
    }
}
