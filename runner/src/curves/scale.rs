//! From values to heights.

/// Least share of the largest error that still has a place of its own.
const SMALLEST: f64 = 1e-9;
/// Decades that have room for numbers in between.
const FEW: f64 = 2.0;

/// How values become heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// By powers of ten; 0 is at the bottom.
    Errors,
    /// In equal steps.
    Decibels,
}

impl Scale {
    pub(super) fn scaled(self, value: f64) -> f64 {
        match self {
            Self::Errors => value.log10(),
            Self::Decibels => value,
        }
    }

    /// Round numbers around all finite `values`.
    pub(super) fn range(self, values: &[f64]) -> (f64, f64) {
        let scaled = values.iter().map(|&value| self.scaled(value)).filter(|x| x.is_finite());
        let top = scaled.clone().reduce(f64::max).unwrap_or(0.0);
        let lowest = match self {
            Self::Errors => top + SMALLEST.log10(),
            Self::Decibels => f64::NEG_INFINITY,
        };
        let bottom = scaled.reduce(f64::min).unwrap_or(top).max(lowest);
        let round = self.round(bottom, top);
        // Numbers such as 2e-3 are not exact.
        let (below, above) = (bottom + 1e-9, top - 1e-9);
        let bottom = round.iter().copied().rfind(|&x| x <= below).unwrap_or(bottom);
        let top = round.iter().copied().find(|&x| x >= above && x > bottom).unwrap_or(top);
        (bottom, top)
    }

    /// Round numbers, scaled, from below `bottom` to above `top`.
    fn round(self, bottom: f64, top: f64) -> Vec<f64> {
        let unit = if self == Self::Errors { 1.0 } else { 10.0 };
        let (first, last) = ((bottom / unit).floor() as i64 - 1, (top / unit).ceil() as i64 + 1);
        let between: &[f64] = match self {
            Self::Errors if top - bottom <= FEW => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let numbers = |i: i64| between.iter().map(move |part| unit * i as f64 + part.log10());
        (first..=last).flat_map(numbers).collect()
    }

    /// Heights with a number.
    pub(super) fn grid(self, bottom: f64, top: f64) -> Vec<(f64, String)> {
        let inside = |x: &f64| (bottom - 1e-9..=top + 1e-9).contains(x);
        let line = |x: f64| match self {
            Self::Errors => (10f64.powf(x), format!("{:.0e}", 10f64.powf(x))),
            Self::Decibels => (x, format!("{x:.0} dB")),
        };
        self.round(bottom, top).into_iter().filter(inside).map(line).collect()
    }

    pub(super) fn name(self, value: f64) -> String {
        match self {
            Self::Errors => format!("{value:.2e}"),
            Self::Decibels => format!("{value:.2} dB"),
        }
    }
}
