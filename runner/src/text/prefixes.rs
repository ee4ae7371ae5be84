//! Finds every entry of a word list that a text begins with.

/// Words in byte order, each with a value.
pub(super) struct Prefixes(Vec<(Box<[u8]>, u32)>);

impl Prefixes {
    /// `words` must be distinct and not empty.
    pub(super) fn new(words: impl Iterator<Item = (Box<[u8]>, u32)>) -> Self {
        let mut words: Vec<_> = words.collect();
        words.sort_unstable();
        Self(words)
    }

    /// (length, value) of each word that `text` begins with, shortest first.
    pub(super) fn of<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let mut candidates = &self.0[..];
        let lengths = 1..=text.len();
        lengths
            .map_while(move |length| {
                candidates = narrow(candidates, length - 1, text[length - 1]);
                Some((length, candidates.first()?))
            })
            .filter(|(length, (word, _))| word.len() == *length)
            .map(|(length, &(_, value))| (length, value))
    }
}

/// Of words that agree before `at`, those with `byte` there.
fn narrow(words: &[(Box<[u8]>, u32)], at: usize, byte: u8) -> &[(Box<[u8]>, u32)] {
    let start = words.partition_point(|(word, _)| word.get(at).is_none_or(|&b| b < byte));
    let end = start + words[start..].partition_point(|(word, _)| word[at] == byte);
    &words[start..end]
}

#[cfg(test)]
mod tests {
    use super::Prefixes;

    #[test]
    fn words_are_found_shortest_first_and_nothing_else() {
        let words = ["b", "abc", "a", "ab", "abd", "猫", "猫a"];
        let prefixes = Prefixes::new((0..).zip(words).map(|(i, w)| (w.as_bytes().into(), i)));
        let of = |text: &str| prefixes.of(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(of("abde"), [(1, 2), (2, 3), (3, 4)]);
        assert_eq!(of("猫"), [(3, 5)]);
        assert_eq!(of("猫a"), [(3, 5), (4, 6)]);
        assert_eq!(of("犬"), []);
        assert_eq!(of(""), []);
    }
}
