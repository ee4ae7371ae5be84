//! Patterns over dotted paths: `blocks.first(3).**`.

/// Whether `pattern` matches the whole of `path`, in a stack of `layers` layers.
///
/// Segments are separated by dots. `*` stands for one segment, `**` for any number of them,
/// `first(n)` and `last(n)` for a number among the first or last n of the stack; a segment that
/// ends in `*` matches by its beginning, and anything else matches itself.
pub(crate) fn matches(pattern: &str, path: &str, layers: usize) -> bool {
    let pattern: Vec<_> = pattern.split('.').collect();
    let path: Vec<_> = path.split('.').collect();
    // reached[j]: the segments of the pattern so far match the first j of the path.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for segment in pattern {
        reached = if segment == "**" {
            let start = reached.iter().position(|&r| r).unwrap_or(reached.len());
            (0..reached.len()).map(|j| j >= start).collect()
        } else {
            let step = |j: usize| reached[j] && segment_matches(segment, path[j], layers);
            std::iter::once(false).chain((0..path.len()).map(step)).collect()
        };
    }
    reached[path.len()]
}

fn segment_matches(pattern: &str, segment: &str, layers: usize) -> bool {
    let number = segment.parse::<usize>().ok();
    if let Some(n) = count(pattern, "first(") {
        return number.is_some_and(|i| i < n);
    }
    if let Some(n) = count(pattern, "last(") {
        return number.is_some_and(|i| i < layers && i + n >= layers);
    }
    match pattern.strip_suffix('*') {
        Some(start) => segment.starts_with(start),
        None => pattern == segment,
    }
}

/// The number in `first(3)`.
fn count(pattern: &str, function: &str) -> Option<usize> {
    let n = pattern.strip_prefix(function)?.strip_suffix(')')?.parse::<usize>().ok()?;
    (n <= 1 << 16).then_some(n)
}

/// What is wrong with `pattern`, if anything.
pub(crate) fn problem(pattern: &str) -> Option<&'static str> {
    let bad = |segment: &str| {
        let call = segment.starts_with("first(") || segment.starts_with("last(");
        let counted = count(segment, "first(").or(count(segment, "last(")).is_some();
        let star = segment.trim_end_matches('*').contains('*');
        segment.is_empty() || (call && !counted) || star || segment.contains("***")
    };
    (pattern.len() > 256 || pattern.split('.').any(bad))
        .then_some("segments separated by dots: a name, name*, *, **, first(n) or last(n)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_segment_matches_what_it_says() {
        let cases = [
            ("blocks.*.ffn.**", "blocks.7.ffn.net.0.proj", true),
            ("blocks.*.ffn", "blocks.7.ffn.net", false),
            ("blocks.*", "blocks", false),
            ("**", "proj_out", true),
            ("**.to_q", "blocks.0.attn1.to_q", true),
            ("**.to_q", "blocks.0.attn1.to_qkv", false),
            ("blocks.first(3).**", "blocks.2.attn1.to_q", true),
            ("blocks.first(3).**", "blocks.3.attn1.to_q", false),
            ("blocks.last(3).**", "blocks.4.x", true),
            ("blocks.last(3).**", "blocks.3.x", false),
            ("blocks.last(3).**", "blocks.7.x", false),
            ("transformer*", "transformer_2_context", true),
            ("blocks.first(3)", "blocks.x", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(matches(pattern, path, 7), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn more_kept_layers_than_there_are_keeps_all() {
        assert!((0..2).all(|i| matches("blocks.last(3)", &format!("blocks.{i}"), 2)));
    }

    #[test]
    fn long_hostile_patterns_take_no_exponential_time() {
        let pattern = ["**"; 60].join(".a.");
        assert!(matches(&pattern, &["a"; 200].join("."), 4));
        let path = [["b"; 100].join("."), ["a"; 58].join(".")].join(".");
        assert!(!matches(&pattern, &path, 4));
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for pattern in ["", "a..b", "first(", "first(x)", "last(99999999)", "a*b", "a.***"] {
            assert!(problem(pattern).is_some(), "{pattern}");
        }
        assert_eq!(problem("blocks.first(3).**"), None);
    }
}
