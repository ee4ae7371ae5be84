//! Tensors that live on the GPU: what a step leaves there for the next is never copied to the host.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bernini_graphs::DType;
use bernini_tensorrt::Error;
use bernini_tensorrt::cuda::{Buffer, Device, Stream};
use half::bf16;
use half::slice::HalfFloatSliceExt;
use ndarray::{ArrayD, IxDyn};

use crate::tensor::Tensor;

/// A GPU and the one stream that all work goes to. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gpu {
    pub device: Device,
    pub stream: Stream,
}

/// GPU bytes whose holders are counted: a pool reuses them once nobody else holds them.
pub(crate) struct Memory {
    pub buffer: Arc<Buffer>,
    gpu: Gpu,
}

impl Gpu {
    /// At least `bytes` of GPU memory, contents undefined.
    pub(crate) fn allocate(&self, bytes: usize) -> Result<Arc<Memory>, Error> {
        let buffer = Arc::new(Buffer::new(&self.device, bytes)?);
        Ok(Arc::new(Memory { buffer, gpu: self.clone() }))
    }

    /// A host tensor on the GPU as `dtype`; one that is there already stays as it is.
    pub(crate) fn resident(&self, tensor: Tensor, dtype: DType) -> Result<DeviceTensor, Error> {
        let shape = tensor.shape().to_vec();
        if let Tensor::Device(tensor) = tensor {
            return Ok(tensor);
        }
        let memory = self.allocate(elements(&shape) * dtype.bytes())?;
        self.upload(&tensor, dtype, &memory.buffer)?;
        Ok(DeviceTensor { dtype, shape, memory })
    }

    /// Writes a host tensor to `buffer` as `dtype`; f32 may become bf16.
    pub(crate) fn upload(
        &self,
        tensor: &Tensor,
        dtype: DType,
        buffer: &Buffer,
    ) -> Result<(), Error> {
        match tensor {
            Tensor::F32(array) if dtype == DType::Bf16 => {
                let values = array.as_standard_layout();
                let mut short = vec![bf16::ZERO; values.len()];
                short.convert_from_f32_slice(values.as_slice().unwrap_or_default());
                self.stream.upload(bytemuck::cast_slice(short.reinterpret_cast()), buffer, 0)
            }
            Tensor::F32(array) => {
                let values = array.as_standard_layout();
                let values = values.as_slice().unwrap_or_default();
                self.stream.upload(bytemuck::cast_slice(values), buffer, 0)
            }
            Tensor::I64(array) => {
                let values = array.as_standard_layout();
                let values = values.as_slice().unwrap_or_default();
                self.stream.upload(bytemuck::cast_slice(values), buffer, 0)
            }
            Tensor::Device(tensor) => {
                self.stream.copy(&tensor.memory.buffer, 0, buffer, 0, tensor.bytes())
            }
        }
    }
}

/// A dense tensor in GPU memory, in C order. Clones share the memory.
#[derive(Clone)]
pub struct DeviceTensor {
    dtype: DType,
    shape: Vec<usize>,
    memory: Arc<Memory>,
}

impl DeviceTensor {
    /// The first bytes of `memory` as a tensor.
    pub(crate) fn new(dtype: DType, shape: Vec<usize>, memory: Arc<Memory>) -> Self {
        Self { dtype, shape, memory }
    }

    /// Size of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        elements(&self.shape) * self.dtype.bytes()
    }

    /// Where it lies.
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The whole tensor in host memory; bf16 becomes f32.
    pub(crate) fn download(&self) -> Result<Tensor, Error> {
        let shape = IxDyn(&self.shape);
        let agree = "invariant: as many values as elements";
        if self.dtype == DType::I64 {
            let mut values = vec![0i64; elements(&self.shape)];
            self.read(bytemuck::cast_slice_mut(&mut values))?;
            return Ok(ArrayD::from_shape_vec(shape, values).expect(agree).into());
        }
        let values = self.download_f32(elements(&self.shape))?;
        Ok(ArrayD::from_shape_vec(shape, values).expect(agree).into())
    }

    /// The first `count` values of a float tensor as f32.
    pub(crate) fn download_f32(&self, count: usize) -> Result<Vec<f32>, Error> {
        let mut values = vec![0f32; count];
        if self.dtype == DType::F32 {
            self.read(bytemuck::cast_slice_mut(&mut values))?;
            return Ok(values);
        }
        let mut short = vec![0u16; count];
        self.read(bytemuck::cast_slice_mut(&mut short))?;
        let short: &[bf16] = half::slice::HalfBitsSliceExt::reinterpret_cast(&short[..]);
        short.convert_to_f32_slice(&mut values);
        Ok(values)
    }

    fn read(&self, bytes: &mut [u8]) -> Result<(), Error> {
        self.memory.gpu.stream.download(&self.memory.buffer, 0, bytes)
    }

    /// Queues setting every value to 0.
    pub(crate) fn zero(&self) -> Result<(), Error> {
        self.memory.gpu.stream.zero(&self.memory.buffer, 0, self.bytes())
    }

    /// Queues overwriting an f32 tensor from flat element `to` on.
    ///
    /// # Panics
    /// If it is not f32.
    pub(crate) fn write(&self, to: usize, values: &[f32]) -> Result<(), Error> {
        assert_eq!(self.dtype, DType::F32, "invariant: f32");
        let Memory { buffer, gpu } = &*self.memory;
        gpu.stream.upload(bytemuck::cast_slice(values), buffer, 4 * to)
    }

    /// Queues overwriting values from flat element `to` on with the elements `from` of `other`.
    ///
    /// # Panics
    /// If the types differ.
    pub(crate) fn copy(&self, to: usize, other: &Self, from: Range<usize>) -> Result<(), Error> {
        assert_eq!(self.dtype, other.dtype, "invariant: one type");
        let size = self.dtype.bytes();
        let (source, target) = (&other.memory.buffer, &self.memory.buffer);
        self.memory.gpu.stream.copy(source, from.start * size, target, to * size, from.len() * size)
    }

    /// Shape of the entries `indices` of axis `axis`.
    pub(crate) fn selected(&self, axis: usize, indices: &[usize]) -> Vec<usize> {
        let mut shape = self.shape.clone();
        shape[axis] = indices.len();
        shape
    }

    /// Queues copying the entries `indices` of axis `axis` to `target`, which has their shape.
    pub(crate) fn select_into(
        &self,
        target: &Self,
        axis: usize,
        indices: &[usize],
    ) -> Result<(), Error> {
        let (count, block) = (self.shape[axis], elements(&self.shape[axis + 1..]));
        for outer in 0..elements(&self.shape[..axis]) {
            for (place, &index) in indices.iter().enumerate() {
                let from = (outer * count + index) * block;
                target.copy((outer * indices.len() + place) * block, self, from..from + block)?;
            }
        }
        Ok(())
    }
}

impl PartialEq for DeviceTensor {
    /// Whether both are the same memory seen in the same way; values are not compared.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
            && (self.dtype, &self.shape) == (other.dtype, &other.shape)
    }
}

impl fmt::Debug for DeviceTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} on the GPU", self.dtype, self.shape)
    }
}

fn elements(shape: &[usize]) -> usize {
    shape.iter().product()
}
