//! SentencePiece's text normalisation, in the order of its `Normalizer::Normalize`.

use super::charsmap::CharsMap;
use super::prefixes::Prefixes;

/// U+2581, which stands for a space inside pieces.
const SPACE_SYMBOL: &[u8] = "\u{2581}".as_bytes();

/// `normalizer_spec` of a model.
pub(super) struct Normalizer {
    pub charsmap: Option<CharsMap>,
    /// User-defined symbols, which are copied as they are.
    pub protected: Prefixes,
    pub add_dummy_prefix: bool,
    pub remove_extra_whitespaces: bool,
    pub escape_whitespaces: bool,
}

impl Normalizer {
    /// The text that the unigram model cuts into pieces.
    pub(super) fn normalize(&self, text: &str) -> Vec<u8> {
        let mut text = text.as_bytes();
        if self.remove_extra_whitespaces {
            while let (length, b" ") = self.prefix(text) {
                text = &text[length..];
            }
        }
        let mut normalized = Vec::with_capacity(text.len() + SPACE_SYMBOL.len());
        if text.is_empty() {
            return normalized;
        }
        if self.add_dummy_prefix {
            normalized.extend(self.space());
        }
        self.append_prefixes(text, &mut normalized);
        while self.remove_extra_whitespaces && normalized.ends_with(self.space()) {
            normalized.truncate(normalized.len() - self.space().len());
        }
        normalized
    }

    fn append_prefixes(&self, mut text: &[u8], normalized: &mut Vec<u8>) {
        let mut after_space = self.remove_extra_whitespaces;
        while !text.is_empty() {
            let (length, mut piece) = self.prefix(text);
            while let (true, [b' ', rest @ ..]) = (after_space, piece) {
                piece = rest;
            }
            for byte in piece {
                let escaped = if *byte == b' ' { self.space() } else { std::slice::from_ref(byte) };
                normalized.extend(escaped);
            }
            if let Some(last) = piece.last() {
                after_space = *last == b' ' && self.remove_extra_whitespaces;
            }
            text = &text[length..];
        }
    }

    /// How many bytes of `text` the next rule takes, and what it makes of them.
    fn prefix<'a>(&'a self, text: &'a [u8]) -> (usize, &'a [u8]) {
        if let Some((length, _)) = self.protected.of(text).last() {
            return (length, &text[..length]);
        }
        let rule = self.charsmap.as_ref().and_then(|map| map.longest(text));
        rule.unwrap_or_else(|| {
            let length = char_len(text);
            (length, &text[..length])
        })
    }

    fn space(&self) -> &'static [u8] {
        if self.escape_whitespaces { SPACE_SYMBOL } else { b" " }
    }
}

/// Bytes of the first UTF-8 character of `text`, 0 for no text.
pub(super) fn char_len(text: &[u8]) -> usize {
    let length = match text.first() {
        None => 0,
        Some(0..0xc0) => 1,
        Some(0xc0..0xe0) => 2,
        Some(0xe0..0xf0) => 3,
        Some(0xf0..) => 4,
    };
    length.min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalizer(remove_extra_whitespaces: bool) -> Normalizer {
        Normalizer {
            charsmap: None,
            protected: Prefixes::new([(b" x "[..].into(), 0)].into_iter()),
            add_dummy_prefix: true,
            remove_extra_whitespaces,
            escape_whitespaces: true,
        }
    }

    fn normalize(remove: bool, text: &str) -> String {
        String::from_utf8(normalizer(remove).normalize(text)).unwrap()
    }

    #[test]
    fn spaces_collapse_only_when_the_model_says_so() {
        assert_eq!(normalize(true, "  two  words "), "▁two▁words");
        assert_eq!(normalize(false, "  two  words "), "▁▁▁two▁▁words▁");
        assert_eq!(normalize(true, "   "), "");
        assert_eq!(normalize(false, ""), "");
    }

    #[test]
    fn a_protected_symbol_keeps_its_inner_space() {
        assert_eq!(normalize(false, "a x b"), "▁a▁x▁b");
    }

    #[test]
    fn a_literal_space_symbol_is_kept_inside_and_trimmed_at_the_end() {
        assert_eq!(normalize(true, "a▁b▁"), "▁a▁b");
    }
}
