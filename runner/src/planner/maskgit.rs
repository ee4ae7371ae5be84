//! Which target tokens each MaskGIT step reveals (spec D.7, D.10).

use std::f64::consts::FRAC_PI_2;

use rand_mt::Mt;

/// Shuffles that the official code makes before the one that counts: one per branch.
const SHUFFLES_BEFORE: usize = 3;

/// Reveal order of `tokens` target tokens: the fourth `numpy.random.shuffle` of 0..tokens after
/// `numpy.random.seed(seed)`. Tokens are revealed from its tail. NumPy takes seeds below 2³² only;
/// of larger ones the low 32 bits count, as for the noise.
pub fn reveal_order(seed: u64, tokens: usize) -> Vec<usize> {
    let mut rng = Mt::new(seed as u32);
    let mut order = Vec::new();
    for _ in 0..=SHUFFLES_BEFORE {
        order = (0..tokens).collect();
        shuffle(&mut order, &mut rng);
    }
    order
}

/// NumPy's legacy shuffle: Fisher–Yates from the end.
fn shuffle(values: &mut [usize], rng: &mut Mt) {
    for last in (1..values.len()).rev() {
        values.swap(last, random_up_to(last as u32, rng));
    }
}

/// A uniform integer in 0..=`max`, at least 1: masked draws until one fits.
fn random_up_to(max: u32, rng: &mut Mt) -> usize {
    let mask = u32::MAX >> max.leading_zeros();
    loop {
        let value = rng.next_u32() & mask;
        if value <= max {
            return value as usize;
        }
    }
}

/// The steps of the loop: for each, the tokens to reveal in ascending order. Ends after `steps`.
///
/// A step is empty where nothing is left to reveal, or, a quirk of the official code that is kept,
/// where token 0 alone would be: it then stays masked for good.
#[derive(Clone, Debug)]
pub struct RevealSteps {
    order: Vec<usize>,
    step: usize,
    steps: usize,
    /// The first so many of `order` are masked still.
    masked: usize,
}

impl RevealSteps {
    /// Reveals the tokens of `order`, from [`reveal_order`], in `steps` steps.
    pub fn new(order: Vec<usize>, steps: usize) -> Self {
        Self { masked: order.len(), order, step: 0, steps }
    }

    /// Tokens that stay masked after the current step: a cosine, but at least one less than
    /// before and, up to the last step, at least one.
    fn masked_after(&self) -> usize {
        if self.step + 1 >= self.steps {
            return 0;
        }
        let angle = FRAC_PI_2 * (self.step + 1) as f64 / self.steps as f64;
        let kept = (self.order.len() as f64 * angle.cos()).floor() as usize;
        kept.min(self.masked.saturating_sub(1)).max(1).min(self.masked)
    }
}

impl Iterator for RevealSteps {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.step == self.steps {
            return None;
        }
        let masked = self.masked_after();
        let mut reveal = self.order[masked..self.masked].to_vec();
        (self.masked, self.step) = (masked, self.step + 1);
        reveal.sort_unstable();
        if reveal == [0] {
            reveal.clear();
        }
        Some(reveal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(tokens: usize, steps: usize) -> Vec<usize> {
        RevealSteps::new((0..tokens).collect(), steps).map(|reveal| reveal.len()).collect()
    }

    #[test]
    fn the_order_is_that_of_numpy() {
        // numpy 2.2.6: seed(s), then four times shuffle(x := list(range(n))).
        assert_eq!(reveal_order(42, 10), [1, 7, 6, 2, 8, 0, 3, 4, 5, 9]);
        assert_eq!(reveal_order(7, 5), [1, 3, 4, 0, 2]);
        assert_eq!(reveal_order((1 << 32) + 7, 5), [1, 3, 4, 0, 2]);
        assert_eq!(reveal_order(0, 1), [0]);
        assert_eq!(reveal_order(0, 0), Vec::<usize>::new());
    }

    #[test]
    fn counts_are_those_of_the_specification() {
        let v1 = counts(300, 25);
        assert_eq!((&v1[..6], v1[24]), (&[1, 2, 3, 4, 5, 7][..], 18));
        let v2 = counts(300, 50);
        assert_eq!((&v2[..7], &v2[47..]), (&[1, 1, 1, 1, 1, 1, 2][..], &[10, 9, 9][..]));
    }

    #[test]
    fn every_token_is_revealed_once() {
        for (tokens, steps) in [(300, 25), (64, 50), (17, 1), (5, 9), (2, 2)] {
            let order = reveal_order(3, tokens);
            let mut seen: Vec<usize> = RevealSteps::new(order, steps).flatten().collect();
            seen.sort_unstable();
            let from_token = tokens - seen.len();
            assert!(from_token <= 1, "{tokens} {steps}");
            assert_eq!(seen, (from_token..tokens).collect::<Vec<_>>());
        }
    }

    #[test]
    fn token_zero_alone_is_never_revealed() {
        assert_eq!(RevealSteps::new(vec![0], 3).collect::<Vec<_>>(), vec![vec![0; 0]; 3]);
        assert_eq!(RevealSteps::new(vec![1, 0], 2).collect::<Vec<_>>(), [vec![], vec![1]]);
        assert_eq!(RevealSteps::new(vec![0, 1], 1).collect::<Vec<_>>(), [[0, 1]]);
        assert_eq!(RevealSteps::new(vec![], 2).collect::<Vec<_>>(), vec![vec![0; 0]; 2]);
        assert_eq!(RevealSteps::new(vec![0], 0).count(), 0);
    }
}
