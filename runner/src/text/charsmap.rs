//! SentencePiece's compiled normalisation rules: a double-array trie (darts-clone layout) whose
//! leaves point at replacement strings ended by NUL.

/// Longest accepted replacement in bytes; the longest of NFKC has 33.
const LONGEST: usize = 256;

/// Replacement rules for prefixes of a text.
pub(super) struct CharsMap {
    units: Vec<u32>,
    replacements: Vec<u8>,
}

impl CharsMap {
    /// Splits `blob`: trie size in bytes (u32), trie, replacements. None if it does not fit.
    pub(super) fn parse(blob: &[u8]) -> Option<Self> {
        let (size, rest) = blob.split_first_chunk::<4>()?;
        let (trie, replacements) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        let (units, []) = trie.as_chunks::<4>() else { return None };
        let ended = replacements.last() == Some(&0);
        let short = replacements.split(|&byte| byte == 0).all(|run| run.len() <= LONGEST);
        (!units.is_empty() && ended && short).then(|| Self {
            units: units.iter().map(|unit| u32::from_le_bytes(*unit)).collect(),
            replacements: replacements.to_vec(),
        })
    }

    /// Length of the longest rule that `text` begins with, and its replacement.
    pub(super) fn longest(&self, text: &[u8]) -> Option<(usize, &[u8])> {
        let mut longest = None;
        let mut node = offset(self.units[0]);
        for (i, &byte) in text.iter().enumerate() {
            node ^= usize::from(byte);
            let Some(&unit) = self.units.get(node) else { break };
            // Bit 31 marks a leaf, which no label equals.
            if unit & 0x8000_00ff != u32::from(byte) {
                break;
            }
            node ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                longest = self.replacement(node).map(|found| (i + 1, found)).or(longest);
            }
        }
        longest
    }

    fn replacement(&self, leaf: usize) -> Option<&[u8]> {
        let start = (self.units.get(leaf)? & 0x7fff_ffff) as usize;
        self.replacements.get(start..)?.split(|&byte| byte == 0).next()
    }
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}

#[cfg(test)]
mod tests {
    use super::CharsMap;

    /// The rule "A" -> "b": root, a node for 'A' at 0 ^ 65, its leaf.
    fn blob() -> Vec<u8> {
        let mut units = [0u32; 80];
        units[0] = 0;
        units[65] = 65 | 1 << 8 | 1 << 10;
        units[64] = 1 << 31;
        let trie: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        [&(trie.len() as u32).to_le_bytes()[..], &trie, b"b\0"].concat()
    }

    #[test]
    fn a_rule_replaces_its_prefix() {
        let map = CharsMap::parse(&blob()).unwrap();
        assert_eq!(map.longest(b"AA"), Some((1, &b"b"[..])));
        assert_eq!(map.longest(b"B"), None);
        assert_eq!(map.longest("é".as_bytes()), None);
    }

    #[test]
    fn truncated_and_dangling_blobs_do_not_panic() {
        let good = blob();
        for length in 0..good.len() {
            assert!(CharsMap::parse(&good[..length]).is_none(), "{length} bytes");
        }
        for unit in 0..80 {
            let mut bad = good.clone();
            bad[4 + 4 * unit..8 + 4 * unit].fill(0xff);
            let map = CharsMap::parse(&bad).unwrap();
            (0..=255).for_each(|byte| assert!(map.longest(&[byte, 65]).is_none_or(|m| m.0 < 3)));
        }
    }
}
