//! Level B: every step of B on the latents that A had.

use bernini_calibration::error::compare;
use bernini_graphs::Submodule;
use ndarray::{Array, Dimension};
use serde::Serialize;

use super::{Limit, VerifyError};
use crate::pipeline::Trace;

/// The steps, and what they are conditioned on.
#[derive(Clone, Debug, Serialize)]
pub struct TrajectoryReport {
    /// Prompts and sources as each folder encodes them; not gated, their errors enter the steps.
    pub conditions: Vec<ConditionReport>,
    /// Every step.
    pub steps: Vec<StepReport>,
    /// Whether every step is within the limits.
    pub passed: bool,
}

/// Something that every step sees.
#[derive(Clone, Debug, Serialize)]
pub struct ConditionReport {
    /// Such as `prompt`.
    pub name: String,
    /// |B − A| / |A| in L2.
    pub rel_l2: f64,
}

/// The guided velocity of one step.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Index from 0.
    pub step: usize,
    /// Stem of the expert.
    pub expert: &'static str,
    /// |B − A| / |A| in L2.
    pub rel_l2: f64,
    /// Cosine of the angle between both.
    pub cosine: f64,
    /// Largest absolute difference.
    pub max_abs: f64,
    /// Whether it is within the limits.
    pub passed: bool,
}

/// Compares two runs of which B had A's latents; the first `high` steps are the high-noise expert's.
///
/// # Errors
/// [`VerifyError::Shapes`] where the runs are not of one request.
pub fn trajectory(
    a: &Trace,
    b: &Trace,
    high: usize,
    limit: &Limit,
) -> Result<TrajectoryReport, VerifyError> {
    let mut conditions = vec![];
    for (name, (a, b)) in
        ["prompt", "negative prompt"].into_iter().zip(a.prompt_embeds.iter().zip(&b.prompt_embeds))
    {
        conditions.push(ConditionReport { name: name.into(), rel_l2: errors(name, a, b)?.rel_l2 });
    }
    for (index, (a, b)) in a.sources.iter().zip(&b.sources).enumerate() {
        let name = format!("source {}", index + 1);
        let rel_l2 = errors(&name, a, b)?.rel_l2;
        conditions.push(ConditionReport { name, rel_l2 });
    }
    let (of_a, of_b) = (a.velocities.len(), b.velocities.len());
    if of_a != of_b {
        return Err(VerifyError::Shapes { what: "steps".into(), a: vec![of_a], b: vec![of_b] });
    }
    let mut steps = vec![];
    for (step, (a, b)) in a.velocities.iter().zip(&b.velocities).enumerate() {
        let errors = errors("velocity", a, b)?;
        let expert = if step < high { Submodule::Transformer } else { Submodule::Transformer2 };
        steps.push(StepReport {
            step,
            expert: expert.stem(),
            rel_l2: errors.rel_l2,
            cosine: errors.cosine,
            max_abs: errors.max_abs,
            // NaN is below no limit.
            passed: errors.rel_l2 <= limit.rel_l2,
        });
    }
    let passed = steps.iter().all(|step| step.passed);
    Ok(TrajectoryReport { conditions, steps, passed })
}

fn errors<D: Dimension>(
    what: &str,
    a: &Array<f32, D>,
    b: &Array<f32, D>,
) -> Result<bernini_calibration::error::Errors, VerifyError> {
    let shapes =
        || VerifyError::Shapes { what: what.into(), a: a.shape().to_vec(), b: b.shape().to_vec() };
    if a.shape() != b.shape() {
        return Err(shapes());
    }
    // Latents of a source are a view whose axes are not in the order of memory.
    let (of_a, of_b) = (a.as_standard_layout(), b.as_standard_layout());
    let (Some(of_a), Some(of_b)) = (of_a.as_slice(), of_b.as_slice()) else { return Err(shapes()) };
    compare(of_a, of_b).map_err(|_| shapes())
}

#[cfg(test)]
mod tests {
    use bernini_graphs::manifest::PrecisionName;
    use ndarray::Array4;

    use super::super::limits;
    use super::*;

    fn trace(velocities: &[f32]) -> Trace {
        let velocity = |&value| Array4::from_elem([1, 1, 3, 5], value);
        Trace { velocities: velocities.iter().map(velocity).collect(), ..Trace::default() }
    }

    #[test]
    fn arrays_are_compared_whatever_their_order_in_memory() {
        let a = Array4::from_shape_fn([2, 3, 1, 5], |(a, b, _, d)| (a * 100 + b * 10 + d) as f32);
        let swapped = a.clone().permuted_axes([1, 0, 2, 3]);
        let copy = swapped.as_standard_layout().into_owned();
        assert_eq!(errors("source 1", &swapped, &copy).unwrap().rel_l2, 0.0);
        assert!(errors("source 1", &a, &swapped).is_err());
    }

    #[test]
    fn each_step_is_judged_and_has_its_expert() {
        let limit = limits(PrecisionName::F32, PrecisionName::Bf16, None);
        let (a, b) = (trace(&[1.0, 2.0, 4.0, 1.0]), trace(&[1.0, 2.02, 4.4, f32::NAN]));
        let report = trajectory(&a, &b, 2, &limit).unwrap();
        let seen: Vec<_> = report.steps.iter().map(|step| (step.expert, step.passed)).collect();
        let (high, low) = ("transformer", "transformer_2");
        assert_eq!(seen, [(high, true), (high, true), (low, false), (low, false)]);
        assert!((report.steps[2].rel_l2 - 0.1).abs() < 1e-6 && !report.passed);
    }

    #[test]
    fn runs_of_different_requests_are_refused() {
        let limit = limits(PrecisionName::F32, PrecisionName::F32, None);
        let refused = trajectory(&trace(&[1.0]), &trace(&[1.0, 1.0]), 1, &limit).unwrap_err();
        assert!(refused.to_string().contains("steps: A has [1], this one [2]"), "{refused}");
        let mut other = trace(&[1.0]);
        other.velocities[0] = Array4::zeros([1, 1, 3, 4]);
        assert!(trajectory(&trace(&[1.0]), &other, 1, &limit).is_err());
    }
}
