//! From symbolic shapes, as manifests write them, to numbers.

use std::collections::BTreeMap;

use crate::manifest::{PortEntry, WorkEntry};

impl PortEntry {
    /// The size of each axis where every symbol has the size that `symbols` gives it.
    ///
    /// `None` for a text that is no polynomial, a symbol without a size, a size below 0 or one
    /// beyond `usize`: the text comes from a file.
    pub fn sizes(&self, symbols: &BTreeMap<String, usize>) -> Option<Vec<usize>> {
        self.shape.iter().map(|axis| polynomial(axis, symbols)).collect()
    }
}

impl WorkEntry {
    /// FLOPs in `[FP8, bf16, f32]`; `None` as for [`PortEntry::sizes`].
    pub fn flops(&self, symbols: &BTreeMap<String, usize>) -> Option<[usize; 3]> {
        let [fp8, bf16, f32] = [&self.fp8, &self.bf16, &self.f32];
        Some([polynomial(fp8, symbols)?, polynomial(bf16, symbols)?, polynomial(f32, symbols)?])
    }
}

/// A sum of terms such as `8*latent_height+1`, as [`Dim`](crate::Dim) writes it.
fn polynomial(text: &str, symbols: &BTreeMap<String, usize>) -> Option<usize> {
    // A sign starts a term, but the first term needs none.
    let inner = text.char_indices().filter(|&(i, c)| i > 0 && matches!(c, '+' | '-'));
    let starts: Vec<usize> = std::iter::once(0).chain(inner.map(|(i, _)| i)).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let terms =
        starts.iter().zip(ends).map(|(&start, end)| signed_term(&text[start..end], symbols));
    let sum = terms.into_iter().try_fold(0i64, |sum, term| sum.checked_add(term?))?;
    usize::try_from(sum).ok()
}

fn signed_term(text: &str, symbols: &BTreeMap<String, usize>) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(text) => term(text, symbols)?.checked_neg(),
        None => term(text.strip_prefix('+').unwrap_or(text), symbols),
    }
}

/// A product of numbers and symbols.
fn term(text: &str, symbols: &BTreeMap<String, usize>) -> Option<i64> {
    text.split('*').try_fold(1i64, |product, factor| {
        let is_number = !factor.is_empty() && factor.bytes().all(|byte| byte.is_ascii_digit());
        let factor = match is_number {
            true => factor.parse().ok()?,
            false => i64::try_from(*symbols.get(factor)?).ok()?,
        };
        product.checked_mul(factor)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Dim, Port};

    fn evaluate(text: &str) -> Option<usize> {
        let symbols = [("h", 30), ("past", 0), ("n", 7), ("max", usize::MAX)];
        let symbols = symbols.map(|(name, size)| (name.to_string(), size)).into();
        let port = PortEntry { name: "x".into(), dtype: DType::F32, shape: vec![text.into()] };
        port.sizes(&symbols).map(|sizes| sizes[0])
    }

    #[test]
    fn polynomials_have_values() {
        for (text, value) in [
            ("1", 1),
            ("0", 0),
            ("h", 30),
            ("8*h", 240),
            ("8*h+1", 241),
            ("past+n", 7),
            ("n*h*n-4*n+2", 30 * 49 - 28 + 2),
            ("-2*n+h", 16),
        ] {
            assert_eq!(evaluate(text), Some(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_has_none() {
        for text in ["", "+", "-", "*", "2*", "w", "8 * h", "n-h", "h--n", "h+", "1e3", "max", "é"]
        {
            assert_eq!(evaluate(text), None, "{text:?}");
        }
        assert_eq!(evaluate(&"99999*".repeat(9)), None);
        assert_eq!(evaluate("9223372036854775807*2"), None);
    }

    #[test]
    fn what_dim_writes_is_read_back() {
        let (h, n) = (Dim::symbol("h"), Dim::symbol("n"));
        let dims = [&(&h * &8.into()) + &1.into(), &(&h * &n) - &n, &Dim::from(100) - &h];
        let port = Port { name: "x".into(), dtype: DType::F32, shape: dims.to_vec() };
        let symbols = [("h".to_string(), 30), ("n".to_string(), 7)].into();
        assert_eq!(PortEntry::from(&port).sizes(&symbols), Some(vec![241, 203, 70]));
    }
}
