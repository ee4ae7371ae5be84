//! Convolution and the layers around it, on `[batch, frames, height, width, channels]`.
//!
//! Channels come last because Hopper's convolutions want them there, and because a norm over them
//! then reads memory in order; ONNX's Conv has them second, so it stands between two transposes,
//! which TensorRT drops.

use crate::builder::{Mismatch, show_ports};
use crate::graph::Attribute;
use crate::value::{integers, scalar};
use crate::{DType, Dim, GraphBuilder, Value};

/// Geometry of a 3D convolution; axes are frames, height, width.
///
/// Frames are never padded here: causal history is an operand (see `causal_conv3d`).
#[derive(Clone, Copy, Debug)]
pub struct Conv3d {
    /// Kernel size.
    pub kernel: [usize; 3],
    /// Step of the kernel.
    pub stride: [usize; 3],
    /// Zeros before height and width.
    pub pad_before: [usize; 2],
    /// Zeros after height and width.
    pub pad_after: [usize; 2],
}

impl Conv3d {
    /// Stride 1, and as many zeros around height and width as keep their sizes.
    pub fn same(kernel: [usize; 3]) -> Self {
        let pad = [kernel[1] / 2, kernel[2] / 2];
        Self { kernel, stride: [1; 3], pad_before: pad, pad_after: pad }
    }

    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        let ints = |v: &[usize]| Attribute::Ints(v.iter().map(|&n| n as i64).collect());
        let (before, after) = (self.pad_before, self.pad_after);
        let pads = [0, before[0], before[1], 0, after[0], after[1]];
        vec![
            ("kernel_shape", ints(&self.kernel)),
            ("strides", ints(&self.stride)),
            ("pads", ints(&pads)),
        ]
    }

    /// Sizes of the output's frames, height and width; `None` where a step does not come out even.
    fn output(&self, input: &[Dim]) -> Option<Vec<Dim>> {
        let pad = |axis: usize| match axis {
            0 => 0,
            axis => self.pad_before[axis - 1] + self.pad_after[axis - 1],
        };
        (0..3)
            .map(|axis| {
                let room = &(&input[axis] + &pad(axis).into()) - &self.kernel[axis].into();
                let steps = floor_div(&room, self.stride[axis])?;
                Some(&steps + &1.into())
            })
            .collect()
    }
}

/// `x / n` rounded down, for `x` whose symbolic part divides evenly.
fn floor_div(x: &Dim, n: usize) -> Option<Dim> {
    let rest = x.terms().find(|(_, symbols)| symbols.is_empty()).map_or(0, |(c, _)| c);
    let rest = rest.rem_euclid(n as i64) as usize;
    (x - &rest.into()).div_exact(&n.into())
}

impl Value<'_> {
    /// Cross-correlation of `[b, t, h, w, in]` with `weight` `[out, in, kt, kh, kw]` plus `bias`
    /// `[out]`.
    #[track_caller]
    pub(crate) fn conv3d(self, weight: Self, bias: Self, geometry: Conv3d) -> Self {
        let x = self.rearrange("b t h w c -> b c t h w", &[]);
        let y = self.g.node("Conv", &[x, weight, bias], &geometry.attributes(), |p| {
            let wrong =
                || Mismatch::new("[b, in, t, h, w] whose strides come out even", show_ports(p));
            let (x, w) = (&p[0].shape, &p[1].shape);
            if x.len() != 5 || x[1] != w[1] || p[0].dtype != p[1].dtype {
                return Err(wrong());
            }
            let sizes = geometry.output(&x[2..]).ok_or_else(wrong)?;
            Ok((p[0].dtype, [vec![x[0].clone(), w[0].clone()], sizes].concat()))
        });
        y.rearrange("b c t h w -> b t h w c", &[])
    }

    /// Doubles height and width of `[b, t, h, w, c]`, repeating each value (nearest).
    ///
    /// TensorRT 10.6 has no bf16 Resize of five axes, so each value is broadcast over its copies.
    #[track_caller]
    pub fn upsample_nearest_2x(self) -> Self {
        let x = self.rearrange("b t h w c -> b t h 1 w 1 c", &[]);
        let copies = integers(self.g, &[1, 1, 1, 2, 1, 2, 1]);
        let x = self.g.node("Expand", &[x, copies], &[], |p| {
            let mut shape = p[0].shape.clone();
            if shape.len() != 7 {
                return Err(Mismatch::new("[b, t, h, w, c]", show_ports(&p[..1])));
            }
            (shape[3], shape[5]) = (2.into(), 2.into());
            Ok((p[0].dtype, shape))
        });
        x.rearrange("b t h y w x c -> b t (h y) (w x) c", &[])
    }

    /// Layer normalisation over the last axis with f32 statistics; the operand must be f32.
    #[track_caller]
    pub(crate) fn layer_norm_f32(self, weight: Self, bias: Option<Self>, eps: f32) -> Self {
        let operands = [Some(self), Some(weight), bias];
        let operands: Vec<_> = operands.into_iter().flatten().collect();
        let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(eps))];
        self.g.node("LayerNormalization", &operands, &attributes, |p| {
            if p.iter().any(|p| p.dtype != DType::F32) || p[0].shape.last() != p[1].shape.last() {
                return Err(Mismatch::new("f32 [.., n] and f32 [n]", show_ports(p)));
            }
            Ok((DType::F32, p[0].shape.clone()))
        })
    }
}

/// A vector of `n` ones in f32, for ops whose weight is not optional.
pub(crate) fn ones<'g>(g: &'g GraphBuilder<'g>, n: usize) -> Value<'g> {
    match n {
        0 => scalar(g, DType::F32, 1.0),
        n => g.constant(DType::F32, &[n], 1.0f32.to_le_bytes().repeat(n)),
    }
}
