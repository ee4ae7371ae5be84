//! What the tests share: goldens of the reference libraries, and models built from them.

mod clip;
mod full;
mod golden;
mod model;
mod request;

pub use clip::write_lossless_clip;
pub use full::PlannerPart;
pub use golden::Golden;
pub use model::{Model, run_chunks};

/// Largest relative L2 error of an f32 graph against the reference (design §10).
pub const PARITY: f64 = 1e-5;

/// Asserts that `found` equals `expected` within [`PARITY`], and says by how much it differs.
///
/// # Panics
/// When it does not.
pub fn assert_parity(name: &str, found: &[f32], expected: &[f32]) {
    let error = relative_l2(found, expected);
    assert!(error <= PARITY, "{name}: relative L2 {error:.2e}, allowed {PARITY:.0e}");
}

/// Relative L2 distance of `found` from `expected`.
///
/// # Panics
/// When they have different lengths.
pub fn relative_l2(found: &[f32], expected: &[f32]) -> f64 {
    let errors = bernini_calibration::error::compare(expected, found);
    errors.unwrap_or_else(|e| panic!("{e}")).rel_l2
}
