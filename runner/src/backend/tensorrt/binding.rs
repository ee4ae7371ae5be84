//! An execution context of one profile: its shapes and addresses, set where they change.

use std::collections::BTreeMap;
use std::sync::Arc;

use bernini_graphs::manifest::PortEntry;
use bernini_tensorrt::cuda::{Buffer, Stream};
use bernini_tensorrt::{Context, Engine, Error};

use super::sizes::Sizes;
use crate::tensor::Tensor;

/// A context and what it was last given.
pub(super) struct Binding {
    context: Context,
    sizes: Option<Sizes>,
    /// Shape of every output at `sizes`.
    shapes: BTreeMap<String, Vec<usize>>,
    bound: BTreeMap<String, Arc<Buffer>>,
    activations: Option<Arc<Buffer>>,
}

impl Binding {
    pub(super) fn new(engine: &Engine, profile: usize, stream: &Stream) -> Result<Self, Error> {
        let mut context = engine.context()?;
        context.set_profile(profile, stream)?;
        Ok(Self {
            context,
            sizes: None,
            shapes: BTreeMap::new(),
            bound: BTreeMap::new(),
            activations: None,
        })
    }

    /// Sets the shapes of `inputs`, which have `sizes`, and asks for those of `outputs`.
    pub(super) fn resize(
        &mut self,
        sizes: Sizes,
        inputs: &[(&str, &Tensor)],
        outputs: &[PortEntry],
    ) -> Result<(), Error> {
        if self.sizes.as_ref() == Some(&sizes) {
            return Ok(());
        }
        self.sizes = None;
        for (name, tensor) in inputs {
            let shape: Vec<_> = tensor.shape().iter().map(|&size| size as i64).collect();
            self.context.set_shape(name, &shape)?;
        }
        for port in outputs {
            let shape = self.context.shape(&port.name)?;
            let shape = shape.into_iter().map(|size| size as usize).collect();
            self.shapes.insert(port.name.clone(), shape);
        }
        self.sizes = Some(sizes);
        Ok(())
    }

    /// Shape of an output.
    pub(super) fn shape(&self, output: &str) -> Vec<usize> {
        self.shapes.get(output).cloned().unwrap_or_default()
    }

    /// Gives the activation buffer that all contexts share, which may have grown.
    pub(super) fn share(&mut self, activations: Option<Arc<Buffer>>) -> Result<(), Error> {
        let Some(buffer) = activations else { return Ok(()) };
        if self.activations.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &buffer)) {
            self.context.set_memory(Arc::clone(&buffer))?;
            self.activations = Some(buffer);
        }
        Ok(())
    }

    /// Lets go of the activation buffer; the next run needs one.
    pub(super) fn release_activations(&mut self) {
        self.context.release_memory();
        self.activations = None;
    }

    /// Lets go of every tensor's buffer that is not `kept`; the next run binds those anew.
    pub(super) fn release_tensors(&mut self, kept: impl Fn(&Arc<Buffer>) -> bool) {
        self.context.release_tensors(&kept);
        self.bound.retain(|_, buffer| kept(buffer));
    }

    /// Uses `buffer` for a tensor.
    pub(super) fn bind(&mut self, name: &str, buffer: &Arc<Buffer>) -> Result<(), Error> {
        if self.bound.get(name).is_none_or(|known| !Arc::ptr_eq(known, buffer)) {
            self.context.bind(name, Arc::clone(buffer), 0)?;
            self.bound.insert(name.into(), Arc::clone(buffer));
        }
        Ok(())
    }

    /// One run, timed layer by layer in milliseconds.
    pub(super) fn layers(&self, stream: &Stream) -> Result<Vec<(String, f32)>, Error> {
        self.context.profile_layers(stream)
    }

    /// Queues one run.
    pub(super) fn enqueue(&mut self, stream: &Stream) -> Result<(), Error> {
        self.context.enqueue(stream)
    }
}
