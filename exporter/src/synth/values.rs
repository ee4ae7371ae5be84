//! Random-looking values that Rust and Python compute bit for bit alike.
//!
//! The rule is tests/reference/values.py: element i of the tensor called `name` is a sum of four
//! 16-bit uniforms from splitmix64 at counter i, seeded with FNV-1a of the name; scaled in f64
//! and rounded once to f32. Any element can be computed alone.

const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
/// Standard deviation of the sum of four 16-bit uniforms.
const STD: f64 = 37837.0;

/// Where the values of one tensor come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Name that seeds them; most often the tensor's own.
    pub name: String,
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
    /// Whether deviations are cubed: most are smaller then, and a few very large.
    pub heavy_tail: bool,
}

impl Values {
    /// Elements from `start` on.
    pub fn fill(&self, start: u64, out: &mut [f32]) {
        let seed = fnv1a(&self.name);
        for (i, x) in (start..).zip(out) {
            let counter = seed.wrapping_add((i + 1).wrapping_mul(GOLDEN_GAMMA));
            let deviation = total(counter) / STD;
            let deviation = if self.heavy_tail { deviation.powi(3) } else { deviation };
            *x = (self.mean + self.std * deviation) as f32;
        }
    }
}

/// FNV-1a 64 of the UTF-8 bytes of `text`.
fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3))
}

/// The four uniforms of splitmix64's finaliser, summed and centred.
fn total(state: u64) -> f64 {
    let x = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let x = x ^ (x >> 31);
    let sum = (x & 0xFFFF) + (x >> 16 & 0xFFFF) + (x >> 32 & 0xFFFF) + (x >> 48);
    (sum as i32 - 131_070).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_reference_bit_for_bit() {
        let golden = include_str!("../../../tests/goldens/values.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        for golden in [&golden, &golden["accented"]] {
            let values = Values {
                name: golden["name"].as_str().unwrap().into(),
                mean: golden["mean"].as_f64().unwrap(),
                std: golden["std"].as_f64().unwrap(),
                heavy_tail: false,
            };
            let first = golden["first"].as_array().unwrap();
            let mut out = vec![0.0; first.len()];
            values.fill(0, &mut out);
            for (x, expected) in out.iter().zip(first) {
                assert_eq!(x.to_bits(), (expected.as_f64().unwrap() as f32).to_bits());
            }
        }
        assert_eq!(format!("{:#018x}", fnv1a("blocks.0.attn1.to_q.weight")), golden["fnv1a"]);
    }

    #[test]
    fn a_heavy_tail_has_smaller_values_and_a_few_larger_ones() {
        let made = |heavy_tail| {
            let values = Values { name: "x".into(), mean: 0.0, std: 1.0, heavy_tail };
            let mut out = vec![0.0f32; 4096];
            values.fill(0, &mut out);
            out
        };
        let (plain, heavy) = (made(false), made(true));
        let count =
            |out: &[f32], wanted: fn(f32) -> bool| out.iter().filter(|x| wanted(**x)).count();
        assert!(count(&heavy, |x| x.abs() < 0.1) > 3 * count(&plain, |x| x.abs() < 0.1));
        assert_eq!(count(&plain, |x| x.abs() > 8.0), 0);
        assert!((1..4096 / 16).contains(&count(&heavy, |x| x.abs() > 8.0)));
    }

    #[test]
    fn any_part_is_the_same_as_in_the_whole() {
        let values = Values { name: "x".into(), mean: 1.0, std: 2.0, heavy_tail: true };
        let mut whole = [0.0; 31];
        values.fill(0, &mut whole);
        let mut part = [0.0; 7];
        values.fill(13, &mut part);
        assert_eq!(part, whole[13..20]);
    }
}
