//! Who sees whom in the language model (spec D.5), as additive biases.
//!
//! Text and source tokens never see the target, so a branch is run in two parts (design §6.1): the
//! prefix, all tokens but the target's, and then the target's tokens against the prefix's keys.

use ndarray::Array4;

use super::stream::TokenStream;

/// Hides a key. Finite, so that a row without any visible key gives no NaN, and within bf16.
pub const MASKED: f32 = -1e30;

/// Bias f32 `[branches, 1, P, P]` of the prefixes, P the longest: each token sees itself and those
/// before it. Shorter prefixes are padded at the end; nobody but padding sees padding.
pub fn prefix_bias(streams: &[&TokenStream]) -> Array4<f32> {
    let longest = longest_prefix(streams);
    Array4::from_shape_fn((streams.len(), 1, longest, longest), |(_, _, query, key)| {
        visible(key <= query)
    })
}

/// Bias f32 `[branches, 1, N, P + N]` of the target's N tokens: they see the prefix up to their
/// block, hence neither its closing `vision_end` nor padding, and each other.
///
/// All streams have the same target. `cached` is P: the keys of each branch's prefix, padding
/// included.
pub fn target_bias(streams: &[&TokenStream], cached: usize) -> Array4<f32> {
    let tokens = streams.first().map_or(0, |stream| stream.target.range().len());
    let shape = (streams.len(), 1, tokens, cached + tokens);
    Array4::from_shape_fn(shape, |(branch, _, _, key)| {
        visible(key < streams[branch].target.start || key >= cached)
    })
}

fn longest_prefix(streams: &[&TokenStream]) -> usize {
    streams.iter().map(|stream| stream.prefix_len()).max().unwrap_or_default()
}

fn visible(visible: bool) -> f32 {
    if visible { 0.0 } else { MASKED }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latents::Grid;
    use crate::planner::stream::{Visual, VisualBlock, VisualKind};

    /// A stream of `before` tokens, a target of 2, and `after` tokens.
    fn stream(before: usize, after: usize) -> TokenStream {
        let grid = Grid { t: 1, h: 1, w: 2 };
        let visual = Visual { kind: VisualKind::Image, grid };
        let target = VisualBlock { visual, start: before };
        TokenStream { ids: vec![0; before + 2 + after], sources: vec![], target }
    }

    /// Spec D.5 written plainly over the whole stream: does `query` see `key`?
    fn sees(stream: &TokenStream, query: usize, key: usize) -> bool {
        let target = stream.target.range();
        match (target.contains(&query), target.contains(&key)) {
            (_, false) => key <= query,
            (true, true) => true,
            (false, true) => false,
        }
    }

    #[test]
    fn the_two_parts_see_what_the_whole_stream_sees() {
        let streams = [stream(5, 1), stream(3, 2), stream(4, 1)];
        let streams: Vec<&TokenStream> = streams.iter().collect();
        let (prefix, target) = (prefix_bias(&streams), target_bias(&streams, 6));
        assert_eq!(prefix.dim(), (3, 1, 6, 6));
        assert_eq!(target.dim(), (3, 1, 2, 8));
        for (b, stream) in streams.iter().enumerate() {
            let rows: Vec<usize> = stream.prefix().collect();
            for (q, query) in rows.iter().enumerate() {
                for (k, key) in rows.iter().enumerate() {
                    assert_eq!(prefix[[b, 0, q, k]] == 0.0, sees(stream, *query, *key));
                }
                assert!((rows.len()..6).all(|k| prefix[[b, 0, q, k]] == MASKED));
            }
            for (q, query) in stream.target.range().enumerate() {
                for (k, key) in rows.iter().enumerate() {
                    assert_eq!(target[[b, 0, q, k]] == 0.0, sees(stream, query, *key));
                }
                assert!((rows.len()..6).all(|k| target[[b, 0, q, k]] == MASKED));
                assert!((6..8).all(|k| target[[b, 0, q, k]] == 0.0));
            }
        }
    }

    #[test]
    fn no_branches_give_empty_biases() {
        assert_eq!(prefix_bias(&[]).dim(), (0, 1, 0, 0));
        assert_eq!(target_bias(&[], 0).dim(), (0, 1, 0, 0));
    }

    #[test]
    fn padding_of_a_longer_branch_that_is_left_out_stays_hidden() {
        let bias = target_bias(&[&stream(3, 1)], 9);
        let seen: Vec<_> = (0..11).map(|key| bias[[0, 0, 0, key]] == 0.0).collect();
        assert_eq!(seen, [[true; 3].as_slice(), &[false; 6], &[true; 2]].concat());
    }
}
