//! Takes taps out of the outputs of a run.

use std::collections::BTreeMap;

use bernini_calibration::Sums;
use bernini_graphs::Submodule;
use bernini_graphs::taps::{
    ABOVE, AMAX, AMAX_CENTERED_K, AMAX_COLUMNS, AMAX_K, AMAX_Q, AMAX_ROWS, AMAX_V, EDGES, ROUNDING,
    STEPS,
};
use ndarray::ArrayD;

use super::met::{Met, keep_largest, larger};
use crate::backend::{BackendError, Outputs};
use crate::tensor::Tensor;

/// What a linear layer met.
#[derive(Debug, Default)]
pub struct Linear {
    /// What entered it.
    pub input: Met,
    /// Largest magnitudes of its weight, by row.
    pub rows: Vec<f32>,
    /// And by column.
    pub columns: Vec<f32>,
}

/// What an attention met.
#[derive(Debug, Default)]
pub struct Attention {
    /// Queries, keys and values.
    pub qkv: [Met; 3],
    /// Largest magnitudes by channel of the keys less their mean; none for cross attention.
    pub centered_keys: Vec<f32>,
    /// Channels per head.
    pub head_dim: usize,
}

impl Attention {
    /// Largest magnitudes by channel of its keys as they are, and less their mean if `centered`, so
    /// that a scale made from them saturates neither.
    pub fn keys(&self, centered: bool) -> Vec<f32> {
        let mut keys = self.qkv[1].amax.clone();
        if centered {
            keep_largest(&mut keys, self.centered_keys.clone());
        }
        keys
    }
}

/// All taps of one run by path.
pub struct Taps {
    /// Linear layers.
    pub linears: BTreeMap<String, Linear>,
    /// Attentions.
    pub attentions: BTreeMap<String, Attention>,
}

impl Taps {
    /// Those of `outputs`, a run of `submodule` for the guidance branch of that name, if any.
    pub fn take(
        submodule: Submodule,
        outputs: &mut Outputs,
        branch: Option<&str>,
    ) -> Result<Self, BackendError> {
        let mut source = Source { submodule, outputs, branch };
        let mut linears = BTreeMap::new();
        for (path, input) in source.prefixed(AMAX) {
            let tap = format!("{AMAX}{path}");
            let (input, _) = source.met(&tap, input, 1)?;
            let rows = source.vector(&format!("{AMAX_ROWS}{path}"))?;
            let columns = source.vector(&format!("{AMAX_COLUMNS}{path}"))?;
            linears.insert(path, Linear { input, rows, columns });
        }
        let mut attentions = BTreeMap::new();
        for (path, queries) in source.prefixed(AMAX_Q) {
            let (q, head_dim) = source.met(&format!("{AMAX_Q}{path}"), queries, 2)?;
            let [k, v] = [AMAX_K, AMAX_V].map(|prefix| {
                let tap = format!("{prefix}{path}");
                let tensor = source.outputs.take(&tap)?;
                source.met(&tap, tensor, 2)
            });
            let qkv = [q, k?.0, v?.0];
            let centered_keys = source.optional(&format!("{AMAX_CENTERED_K}{path}"), 2)?;
            attentions.insert(path, Attention { qkv, centered_keys, head_dim });
        }
        Ok(Self { linears, attentions })
    }
}

/// Where taps are taken from.
struct Source<'a> {
    submodule: Submodule,
    outputs: &'a mut Outputs,
    branch: Option<&'a str>,
}

impl Source<'_> {
    fn prefixed(&mut self, prefix: &str) -> BTreeMap<String, Tensor> {
        self.outputs.take_prefixed(prefix)
    }

    /// What the tensor of the amax tap called `tap` met, and the size of that tap's last axis.
    fn met(
        &mut self,
        tap: &str,
        tensor: Tensor,
        rank: usize,
    ) -> Result<(Met, usize), BackendError> {
        let amax = self.array(tap, tensor, |shape| shape.len() == rank, format!("rank {rank}"))?;
        let last = amax.shape().last().copied().unwrap_or_default();
        let amax: Vec<f32> = amax.into_iter().collect();
        let largest = amax.iter().copied().fold(0.0, larger);
        let branches = self.branch.map(|branch| (branch.to_string(), largest));
        let above = self.sums(&format!("{ABOVE}{tap}"), EDGES)?;
        let errors = self.sums(&format!("{ROUNDING}{tap}"), STEPS)?;
        let sums = above.zip(errors).map(|(above, errors)| Sums { above, errors });
        Ok((Met { amax, branches: branches.into_iter().collect(), sums }, last))
    }

    /// The sums called `name`, if the graph makes them.
    fn sums(&mut self, name: &str, count: usize) -> Result<Option<Vec<f64>>, BackendError> {
        let Ok(tensor) = self.outputs.take(name) else { return Ok(None) };
        let sums = self.array(name, tensor, |shape| shape == [count], format!("[{count}]"))?;
        Ok(Some(sums.into_iter().map(f64::from).collect()))
    }

    /// The amax values called `name`, none if the graph does not measure them.
    fn optional(&mut self, name: &str, rank: usize) -> Result<Vec<f32>, BackendError> {
        let Ok(tensor) = self.outputs.take(name) else { return Ok(vec![]) };
        let fits = |shape: &[usize]| shape.len() == rank;
        Ok(self.array(name, tensor, fits, format!("rank {rank}"))?.into_iter().collect())
    }

    /// The amax values called `name` of a weight.
    fn vector(&mut self, name: &str) -> Result<Vec<f32>, BackendError> {
        let tensor = self.outputs.take(name)?;
        let array = self.array(name, tensor, |shape| shape.len() == 1, "rank 1".into())?;
        Ok(array.into_iter().collect())
    }

    /// The values of a tap whose shape must be of the `expected` kind.
    fn array(
        &self,
        name: &str,
        tensor: Tensor,
        fits: impl Fn(&[usize]) -> bool,
        expected: String,
    ) -> Result<ArrayD<f32>, BackendError> {
        let found = format!("{} {:?}", tensor.dtype(), tensor.shape());
        match tensor.into_host()? {
            Tensor::F32(array) if fits(array.shape()) && !array.is_empty() => Ok(array),
            _ => {
                let (submodule, name) = (self.submodule, name.into());
                let expected = format!("f32 of {expected}");
                Err(BackendError::Port { submodule, name, expected, found })
            }
        }
    }
}
