//! Python's `html.unescape`: character references with and without a semicolon.
//! The crate html-escape decodes only those with one; its table of names is used.

use html_escape::NAMED_ENTITIES;

/// Longest name that Python looks at after `&`.
const LONGEST_NAME: usize = 32;

/// Decodes every character reference once, as `html.unescape` of Python 3.11.
pub fn unescape(text: &str) -> String {
    let mut parts = text.split('&');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let decode = if part.starts_with('#') { numeric } else { named };
        match decode(part) {
            Some((value, rest)) => {
                decoded.push_str(&value);
                decoded.push_str(rest);
            }
            None => {
                decoded.push('&');
                decoded.push_str(part);
            }
        }
    }
    decoded
}

/// `#65;` or `#x41;`, semicolon optional: the character and what follows.
fn numeric(part: &str) -> Option<(String, &str)> {
    let body = &part[1..];
    let (digits, radix) = match body.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (body, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    if end == 0 {
        return None;
    }
    let rest = digits[end..].strip_prefix(';').unwrap_or(&digits[end..]);
    // A number too long for u32 is beyond Unicode as well.
    let code = u32::from_str_radix(&digits[..end], radix).unwrap_or(u32::MAX);
    Some((character(code), rest))
}

/// The text of a numeric reference: HTML maps C1 controls to Windows-1252 and drops others.
fn character(code: u32) -> String {
    match code {
        0 => '\u{fffd}'.to_string(),
        0x80..=0x9f => WINDOWS_1252[code as usize - 0x80].to_string(),
        0x01..=0x08 | 0x0b | 0x0e..=0x1f | 0x7f | 0xfdd0..=0xfdef => String::new(),
        _ if code <= 0x10_ffff && code & 0xfffe == 0xfffe => String::new(),
        _ => char::from_u32(code).unwrap_or('\u{fffd}').to_string(),
    }
}

/// `name;`, or the longest legacy name that `part` begins with.
fn named(part: &str) -> Option<(String, &str)> {
    let stop = |c: char| matches!(c, '\t' | '\n' | '\x0c' | ' ' | '<' | '#' | ';');
    let end = part.char_indices().take(LONGEST_NAME).find(|&(_, c)| stop(c));
    let end = end.map_or_else(|| cut(part, LONGEST_NAME), |(at, _)| at);
    let (name, rest) = part.split_at(end);
    if let (Some(value), Some(rest)) = (lookup(name), rest.strip_prefix(';')) {
        return Some((value.to_owned(), rest));
    }
    let lengths = (2..=name.len()).rev().filter(|&length| name.is_char_boundary(length));
    let legacy = lengths.map(|length| &name[..length]).find(|prefix| LEGACY.contains(prefix))?;
    Some((lookup(legacy)?.to_owned(), &part[legacy.len()..]))
}

/// Byte offset of character `count`, or the end.
fn cut(text: &str, count: usize) -> usize {
    text.char_indices().nth(count).map_or(text.len(), |(at, _)| at)
}

fn lookup(name: &str) -> Option<&'static str> {
    let found = NAMED_ENTITIES.binary_search_by(|(entry, _)| (*entry).cmp(name.as_bytes()));
    found.ok().map(|index| NAMED_ENTITIES[index].1)
}

/// Characters that browsers give the references &#128; to &#159;.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Names that HTML accepts without a semicolon.
const LEGACY: [&str; 106] = [
    "AElig", "AMP", "Aacute", "Acirc", "Agrave", "Aring", "Atilde", "Auml", "COPY", "Ccedil",
    "ETH", "Eacute", "Ecirc", "Egrave", "Euml", "GT", "Iacute", "Icirc", "Igrave", "Iuml", "LT",
    "Ntilde", "Oacute", "Ocirc", "Ograve", "Oslash", "Otilde", "Ouml", "QUOT", "REG", "THORN",
    "Uacute", "Ucirc", "Ugrave", "Uuml", "Yacute", "aacute", "acirc", "acute", "aelig", "agrave",
    "amp", "aring", "atilde", "auml", "brvbar", "ccedil", "cedil", "cent", "copy", "curren", "deg",
    "divide", "eacute", "ecirc", "egrave", "eth", "euml", "frac12", "frac14", "frac34", "gt",
    "iacute", "icirc", "iexcl", "igrave", "iquest", "iuml", "laquo", "lt", "macr", "micro",
    "middot", "nbsp", "not", "ntilde", "oacute", "ocirc", "ograve", "ordf", "ordm", "oslash",
    "otilde", "ouml", "para", "plusmn", "pound", "quot", "raquo", "reg", "sect", "shy", "sup1",
    "sup2", "sup3", "szlig", "thorn", "times", "uacute", "ucirc", "ugrave", "uml", "uuml",
    "yacute", "yen", "yuml",
];

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn references_decode_as_in_python() {
        for (text, expected) in [
            ("&lt;&gt&amp&AMP;", "<>&&"),
            ("&copy2 &notit; &notin; &notinx", "©2 ¬it; ∉ ¬inx"),
            ("&#65&#x41;&#X41z &#١;", "AAAz &#١;"),
            ("&#128;&#129;&#0;&#xD800;&#99999999999;", "€\u{81}\u{fffd}\u{fffd}\u{fffd}"),
            ("a&#11;&#x7f;&#xFDD0;&#x1FFFE;b", "ab"),
            ("&&amp;;&;&#;&#x;&unknown;&a", "&&;&;&#;&#x;&unknown;&a"),
            ("&fjlig; &NotEqualTilde;", "fj ≂̸"),
            ("&sect=1&para=2&é&ampé", "§=1¶=2&é&é"),
            ("&amp;lt;", "&lt;"),
        ] {
            assert_eq!(unescape(text), expected, "{text}");
        }
    }

    #[test]
    fn names_longer_than_32_characters_are_not_looked_up() {
        let longest = "&CounterClockwiseContourIntegral;";
        assert_eq!(unescape(longest), "∳");
        assert_eq!(unescape(&format!("&{};", "é".repeat(40))), format!("&{};", "é".repeat(40)));
    }
}
