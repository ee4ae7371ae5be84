//! clean() of spec E.5.

use super::html::unescape;

/// Longest line given to plsfix in one piece, in bytes. Its regular expressions panic on some
/// lines of 100 kB and more; prompts are a few kilobytes.
const LONGEST_LINE: usize = 16 << 10;

/// ftfy.fix_text, html.unescape twice, whitespace runs to one space, strip.
///
/// ftfy is the crate plsfix, which differs from ftfy 6.3.1 on text that was decoded with a Greek,
/// Baltic or Cyrillic code page, on terminal escapes (`check_prompt` refuses them), and on
/// entities escaped three times after a `<`.
pub fn clean(text: &str) -> String {
    let lines = text.split_inclusive('\n').flat_map(pieces);
    let fixed: String = lines.map(|piece| plsfix::fix_text(piece, None)).collect();
    let text = unescape(&unescape(&fixed));
    let words = text.split(is_python_space).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// `line` in pieces of at most [`LONGEST_LINE`] bytes.
fn pieces(mut line: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (piece, rest) = line.split_at(line.floor_char_boundary(LONGEST_LINE));
        line = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// `\s` of Python's `re`: Unicode white space and the four ASCII separators.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn quotes_widths_and_mojibake_are_repaired() {
        assert_eq!(clean("it’s “ＦＵＬＬ”　schÃ¶n"), "it's \"FULL\" schön");
    }

    #[test]
    fn entities_are_decoded_twice_and_space_collapsed() {
        assert_eq!(clean(" &amp;amp;\u{2028}\u{1f} &copy2\n\n<b>&amp;lt; "), "& ©2 <b><");
    }

    #[test]
    fn a_long_line_of_wide_characters_keeps_every_character() {
        let text = format!("x{}", "猫".repeat(300_000));
        assert_eq!(clean(&text), text);
    }

    /// plsfix alone panics on this: its regular expression runs out of backtracking.
    #[test]
    fn a_megabyte_of_mojibake_does_not_panic() {
        assert!(!clean(&"\u{93}Ã".repeat(250_000)).is_empty());
    }
}
