//! Sizes of axes: numbers, named symbols, and polynomials of them.
//!
//! Two dims are equal exactly when their normal forms are, so there is no solver: a graph that
//! needs `4*h - 1 + 1 == 4*h` gets it by construction, and one that needs more is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};

/// The size of one axis: a sum of terms, each a coefficient times a product of symbols.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Dim {
    terms: BTreeMap<Vec<&'static str>, i64>,
}

impl Dim {
    /// An axis known by name only, such as `tokens`.
    pub fn symbol(name: &'static str) -> Self {
        Self { terms: BTreeMap::from([(vec![name], 1)]) }
    }

    /// The number that this dim is, if it holds no symbol.
    pub fn number(&self) -> Option<usize> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&[][..]).and_then(|&n| usize::try_from(n).ok()),
            _ => None,
        }
    }

    /// `(coefficient, symbol)` of a dim such as `8*latent_height`.
    pub fn scaled_symbol(&self) -> Option<(i64, &'static str)> {
        let mut terms = self.terms.iter();
        match (terms.next(), terms.next()) {
            (Some((symbols, &factor)), None) if symbols.len() == 1 => Some((factor, symbols[0])),
            _ => None,
        }
    }

    /// Every term as `(coefficient, symbols)`, in a fixed order.
    pub fn terms(&self) -> impl Iterator<Item = (i64, &[&'static str])> {
        self.terms.iter().map(|(symbols, &factor)| (factor, symbols.as_slice()))
    }

    /// `self / divisor` where the division leaves no rest and the divisor is a single term.
    pub fn div_exact(&self, divisor: &Self) -> Option<Self> {
        let mut one = divisor.terms.iter();
        let (Some((by, &factor)), None) = (one.next(), one.next()) else { return None };
        let mut terms = BTreeMap::new();
        for (symbols, &n) in &self.terms {
            let mut rest = symbols.clone();
            for symbol in by {
                rest.remove(rest.iter().position(|s| s == symbol)?);
            }
            if n % factor != 0 {
                return None;
            }
            terms.insert(rest, n / factor);
        }
        Some(Self { terms })
    }

    fn with(mut self, symbols: &[&'static str], n: i64) -> Self {
        let term = self.terms.entry(symbols.to_vec()).or_insert(0);
        *term += n;
        if *term == 0 {
            self.terms.remove(symbols);
        }
        self
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        Self::default().with(&[], n as i64)
    }
}

impl Add for &Dim {
    type Output = Dim;
    fn add(self, other: &Dim) -> Dim {
        other.terms.iter().fold(self.clone(), |sum, (symbols, &n)| sum.with(symbols, n))
    }
}

impl Sub for &Dim {
    type Output = Dim;
    fn sub(self, other: &Dim) -> Dim {
        other.terms.iter().fold(self.clone(), |sum, (symbols, &n)| sum.with(symbols, -n))
    }
}

impl Mul for &Dim {
    type Output = Dim;
    fn mul(self, other: &Dim) -> Dim {
        let mut product = Dim::default();
        for (a, &n) in &self.terms {
            for (b, &m) in &other.terms {
                let mut symbols = [a.as_slice(), b.as_slice()].concat();
                symbols.sort_unstable();
                product = product.with(&symbols, n * m);
            }
        }
        product
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        let symbolic_first = self.terms.iter().rev();
        for (i, (symbols, &n)) in symbolic_first.enumerate() {
            if i > 0 {
                f.write_str(if n < 0 { "-" } else { "+" })?;
            }
            let n = if i > 0 { n.abs() } else { n };
            match (symbols.is_empty(), n) {
                (true, n) => write!(f, "{n}")?,
                (false, 1) => f.write_str(&symbols.join("*"))?,
                (false, n) => write!(f, "{n}*{}", symbols.join("*"))?,
            }
        }
        Ok(())
    }
}

/// A shape as text, such as `[1, tokens, 5120]`.
pub(crate) fn show(shape: &[Dim]) -> String {
    let dims: Vec<_> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stride_two_convolution_keeps_its_symbol() {
        let padded = &(&Dim::from(8) * &Dim::symbol("h")) + &1.into();
        let out = &(&padded - &3.into()).div_exact(&2.into()).unwrap() + &1.into();
        assert_eq!(out.to_string(), "4*h");
    }

    #[test]
    fn division_is_exact_or_refused() {
        let h = Dim::symbol("h");
        let area = &(&h * &Dim::symbol("w")) * &6.into();
        assert_eq!(area.div_exact(&(&h * &3.into())).unwrap().to_string(), "2*w");
        assert_eq!(area.div_exact(&4.into()), None);
        assert_eq!(area.div_exact(&Dim::symbol("t")), None);
    }

    #[test]
    fn equal_polynomials_are_equal_values() {
        let (p, n) = (Dim::symbol("p"), Dim::symbol("n"));
        assert_eq!(&(&p + &n) - &p, n);
        assert_eq!((&p + &n).to_string(), "p+n");
        assert_eq!(&n - &n, Dim::from(0));
        assert_eq!((&n - &n).number(), Some(0));
    }
}
