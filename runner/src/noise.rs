//! Initial noise of the renderer (spec D.10, K.14): torch's CPU generator, or a NumPy file.

mod npy;
mod vector_math;

pub use npy::{NoiseError, read_noise};

use rand_mt::Mt;
use std::f64::consts::TAU;
use vector_math::{ln, sin_cos};

/// Values that torch's normal fill handles together: 8 radii followed by 8 angles.
const BLOCK: usize = 16;

/// `torch.Generator(device="cpu")`: the same seed gives the bits of `torch.randn` on an x86 CPU
/// with AVX2 (torch 2.7.1), for float32 tensors of any size.
pub struct TorchRng {
    mt: Mt,
    spare_normal: Option<f64>,
}

impl TorchRng {
    /// A generator after `manual_seed(seed)`; torch's MT19937 keeps the low 32 bits only.
    pub fn new(seed: u64) -> Self {
        Self { mt: Mt::new(seed as u32), spare_normal: None }
    }

    /// The values of `torch.randn(n, generator=…)`, float32, in memory order of the tensor.
    pub fn randn(&mut self, n: usize) -> Vec<f32> {
        if n < BLOCK {
            return (0..n).map(|_| self.normal_f64() as f32).collect();
        }
        let mut values: Vec<f32> = (0..n).map(|_| self.uniform_f32()).collect();
        values.chunks_exact_mut(BLOCK).for_each(box_muller);
        if !n.is_multiple_of(BLOCK) {
            self.redraw(&mut values[n - BLOCK..]);
        }
        values
    }

    /// Leaves the generator as [`TorchRng::randn`] of `n` values does, without making them.
    pub fn skip_randn(&mut self, n: usize) {
        if n < BLOCK {
            self.randn(n);
            return;
        }
        let redrawn = if n.is_multiple_of(BLOCK) { 0 } else { BLOCK };
        (0..n + redrawn).for_each(|_| {
            self.mt.next_u32();
        });
    }

    fn redraw(&mut self, block: &mut [f32]) {
        block.fill_with(|| self.uniform_f32());
        box_muller(block);
    }

    fn uniform_f32(&mut self) -> f32 {
        const BITS: u32 = f32::MANTISSA_DIGITS;
        (self.mt.next_u32() & ((1 << BITS) - 1)) as f32 / (1u32 << BITS) as f32
    }

    fn uniform_f64(&mut self) -> f64 {
        const BITS: u32 = f64::MANTISSA_DIGITS;
        let high = u64::from(self.mt.next_u32()) << 32;
        let bits = high | u64::from(self.mt.next_u32());
        (bits & ((1 << BITS) - 1)) as f64 / (1u64 << BITS) as f64
    }

    fn normal_f64(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        let angle = TAU * self.uniform_f64();
        let radius = (-2.0 * (-self.uniform_f64()).ln_1p()).sqrt();
        self.spare_normal = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

/// Turns 16 uniforms into 16 normals: element j gives the radius, element j + 8 the angle.
fn box_muller(block: &mut [f32]) {
    let (radii, angles) = block.split_at_mut(BLOCK / 2);
    for (u1, u2) in radii.iter_mut().zip(angles) {
        let radius: f32 = (-2.0 * ln(1.0 - *u1)).sqrt();
        let (sin, cos) = sin_cos(TAU as f32 * *u2);
        // torch adds the mean 0.0, which turns a negative zero into a positive one.
        (*u1, *u2) = (radius * cos + 0.0, radius * sin + 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::TorchRng;

    #[test]
    fn seed_42_gives_the_first_values_of_torch() {
        let text: Vec<String> =
            TorchRng::new(42).randn(3).iter().map(|v| format!("{v:.4}")).collect();
        assert_eq!(text, ["0.3367", "0.1288", "0.2345"]);
    }

    #[test]
    fn skipped_values_leave_the_same_generator_as_drawn_ones() {
        for n in [0, 3, 15, 16, 37, 64, 1000] {
            let (mut drawn, mut skipped) = (TorchRng::new(3), TorchRng::new(3));
            drawn.randn(n);
            skipped.skip_randn(n);
            assert_eq!(drawn.randn(5), skipped.randn(5), "{n}");
        }
    }

    #[test]
    fn only_the_low_32_bits_of_the_seed_count() {
        assert_eq!(TorchRng::new(5).randn(40), TorchRng::new((1 << 40) + 5).randn(40));
        assert_ne!(TorchRng::new(5).randn(40), TorchRng::new(6).randn(40));
    }

    #[test]
    fn a_tail_redraws_the_last_sixteen() {
        let (whole, tailed) = (TorchRng::new(1).randn(32), TorchRng::new(1).randn(37));
        assert_eq!(whole[..21], tailed[..21]);
        assert_ne!(whole[21..], tailed[21..32]);
    }

    #[test]
    fn an_odd_scalar_draw_leaves_its_partner_for_the_next_call() {
        let mut split = TorchRng::new(9);
        let parts = [split.randn(3), split.randn(0), split.randn(5)].concat();
        assert_eq!(parts, TorchRng::new(9).randn(8));
    }
}
