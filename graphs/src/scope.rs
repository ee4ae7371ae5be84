//! A place in the checkpoint: the layers that read their weights by name.

use std::fmt::Display;

use crate::graph::Layout;
use crate::ops::{Conv3d, concat};
use crate::value::scalar;
use crate::{DType, GraphBuilder, Value};

/// The checkpoint's working directory: prefixes tensor names and node names alike.
///
/// One name, one tensor: the path in Rust is the name in safetensors, the ONNX initializer, the
/// TensorRT layer and the calibration key. Nodes are named after the scope opened last.
#[derive(Clone)]
pub struct Scope<'g> {
    g: &'g GraphBuilder<'g>,
    path: String,
    f32: bool,
}

impl<'g> Scope<'g> {
    pub(crate) fn root(g: &'g GraphBuilder<'g>) -> Self {
        Self { g, path: String::new(), f32: false }
    }

    /// The scope below this one.
    pub fn at(&self, name: impl Display) -> Self {
        let path = self.join(name);
        self.g.enter(&path);
        Self { g: self.g, path, f32: self.f32 }
    }

    /// The same place as an f32 island: weights stay f32 and are never quantised.
    pub fn f32(&self) -> Self {
        Self { f32: true, ..self.clone() }
    }

    /// Dotted path of this scope.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The graph under construction.
    pub fn graph(&self) -> &'g GraphBuilder<'g> {
        self.g
    }

    fn join(&self, name: impl Display) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    fn dtype(&self) -> DType {
        if self.f32 { DType::F32 } else { self.g.precision.compute() }
    }

    /// The tensor `name`, which must have `shape`.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Value<'g> {
        self.tensor_as(name, shape, shape, Layout::AsIs)
    }

    /// The tensor `name` of `shape`, rearranged by `layout` and seen as `view`.
    pub fn tensor_as(
        &self,
        name: &str,
        shape: &[usize],
        view: &[usize],
        layout: Layout,
    ) -> Value<'g> {
        self.g.weight(&self.join(name), shape, view, self.dtype(), (layout, None))
    }

    /// Makes `x` an output called `tap.<path>.<name>` where the graph is built with taps.
    pub fn tap(&self, name: &str, x: Value<'g>) {
        self.g.tap(&self.join(name), x);
    }

    /// `x · Wᵀ + b` on the last axis; `[.., in]` to `[.., out]`.
    #[track_caller]
    pub fn linear(&self, name: &str, x: Value<'g>, out: usize) -> Value<'g> {
        self.linear_as(name, x, out, Layout::AsIs)
    }

    /// [`Scope::linear`] whose output channels are rearranged by `layout`.
    #[track_caller]
    pub fn linear_as(&self, name: &str, x: Value<'g>, out: usize, layout: Layout) -> Value<'g> {
        let s = self.at(name);
        let y = s.project(x, out, layout) + s.tensor_as("bias", &[out], &[out], layout);
        self.g.enter(&self.path);
        y
    }

    /// `x · Wᵀ` on the last axis.
    #[track_caller]
    pub fn linear_no_bias(&self, name: &str, x: Value<'g>, out: usize) -> Value<'g> {
        let y = self.at(name).project(x, out, Layout::AsIs);
        self.g.enter(&self.path);
        y
    }

    /// The product of a linear layer, in FP8 where the policy says so.
    #[track_caller]
    fn project(&self, x: Value<'g>, out: usize, layout: Layout) -> Value<'g> {
        let width = x.width();
        if x.port().is_none() {
            return x;
        }
        let shape = [out, width];
        let scales = if self.f32 { None } else { self.g.precision.linear(&self.path) };
        let Some(scales) = scales else {
            let weight = self.tensor_as("weight", &shape, &shape, layout);
            if !self.f32 {
                self.g.tap_amax(&self.path, x, shape, layout);
            }
            return x.matmul(weight.transpose_last());
        };
        let compute = self.g.precision.compute();
        let name = self.join("weight");
        let stored = (layout, Some(scales.weight));
        let weight = self.g.weight(&name, &shape, &shape, DType::E4m3, stored);
        let weight = weight.dequantize(scalar(self.g, compute, scales.weight)).transpose_last();
        x.fake_quantize(scales.input).matmul(weight)
    }

    /// Layer normalisation with weight and bias; f32 inside.
    #[track_caller]
    pub fn layer_norm(&self, name: &str, x: Value<'g>, eps: f32) -> Value<'g> {
        let s = self.at(name).f32();
        let width = x.width();
        let (weight, bias) = (s.tensor("weight", &[width]), s.tensor("bias", &[width]));
        let y = x.to_f32().layer_norm_f32(weight, Some(bias), eps).to_compute();
        self.g.enter(&self.path);
        y
    }

    /// Root-mean-square normalisation: f32 statistics, the weight applied in the compute type.
    #[track_caller]
    pub fn rms_norm(&self, name: &str, x: Value<'g>, eps: f32, layout: Layout) -> Value<'g> {
        let s = self.at(name);
        let axis = x.shape().len().saturating_sub(1);
        let width = x.width();
        let f = x.to_f32();
        let y = f.div((f * f).mean(axis).shift(eps).sqrt()).to_compute();
        let y = y * s.tensor_as("weight", &[width], &[width], layout);
        self.g.enter(&self.path);
        y
    }

    /// The weight of the norm called `name` over the last axis of `x`, for a node that normalises.
    pub(crate) fn norm_weight(&self, name: &str, x: Value<'g>, layout: Layout) -> Value<'g> {
        let width = x.width();
        let weight = self.at(name).tensor_as("weight", &[width], &[width], layout);
        self.g.enter(&self.path);
        weight
    }

    /// 3D convolution of `[b, t, h, w, in]`, without temporal padding.
    #[track_caller]
    pub fn conv3d(&self, name: &str, x: Value<'g>, out: usize, geometry: Conv3d) -> Value<'g> {
        let [kt, kh, kw] = geometry.kernel;
        let s = self.at(name);
        let shape = [out, x.width(), kt, kh, kw];
        let y = x.conv3d(s.tensor("weight", &shape), s.tensor("bias", &[out]), geometry);
        self.g.enter(&self.path);
        y
    }

    /// 2D convolution of every frame of `[b, t, h, w, in]`: a 3D one whose kernel is one frame.
    #[track_caller]
    pub fn conv2d(&self, name: &str, x: Value<'g>, out: usize, geometry: Conv3d) -> Value<'g> {
        let [_, kh, kw] = geometry.kernel;
        let s = self.at(name);
        let (n, geometry) = (x.width(), Conv3d { kernel: [1, kh, kw], ..geometry });
        let weight = s.tensor_as("weight", &[out, n, kh, kw], &[out, n, 1, kh, kw], Layout::AsIs);
        let y = x.conv3d(weight, s.tensor("bias", &[out]), geometry);
        self.g.enter(&self.path);
        y
    }

    /// Causal 3D convolution with kernel `[k, k, k]`: returns `(y, cache)`.
    ///
    /// `cache` is the last `k - 1` frames before `x`; the one returned is for the next chunk.
    #[track_caller]
    pub fn causal_conv3d(
        &self,
        name: &str,
        x: Value<'g>,
        out: usize,
        geometry: Conv3d,
        cache: Value<'g>,
    ) -> (Value<'g>, Value<'g>) {
        let history = geometry.kernel[0] as i64 - 1;
        let seen = concat(1, &[cache, x]);
        let next = seen.slice(1, -history..i64::MAX);
        (self.conv3d(name, seen, out, geometry), next)
    }
}
