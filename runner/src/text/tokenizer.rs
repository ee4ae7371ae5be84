//! UMT5's tokenizer: a SentencePiece unigram model with byte fallback (spec E.3, K.3).
//!
//! Sums are compared in f64 and kept in f32, as SentencePiece does: it decides ties.

use std::collections::HashSet;
use std::path::Path;

use super::TextError;
use super::charsmap::CharsMap;
use super::normalizer::{Normalizer, char_len};
use super::prefixes::Prefixes;
use super::spiece::{self, Kind, Model};

/// Id of the padding token.
pub const PAD_ID: i64 = 0;
/// Id of `</s>`, which ends every sequence.
pub const EOS_ID: i64 = 1;
/// Longest sequence, `</s>` included.
pub const MAX_TOKENS: usize = 512;

const MAX_PIECES: usize = 1 << 20;
const MAX_PIECE_BYTES: usize = 256;
/// What an unknown character costs beyond the worst piece.
const UNKNOWN_PENALTY: f32 = 10.0;

/// Turns a prompt into token ids.
pub struct T5Tokenizer {
    normalizer: Normalizer,
    pieces: Prefixes,
    /// By id; None for a piece that text never gives.
    scores: Vec<Option<Score>>,
    unknown: Unknown,
}

#[derive(Clone, Copy)]
enum Score {
    Piece(f32),
    UserDefined,
}

struct Unknown {
    id: u32,
    score: f32,
    /// Ids of the 256 byte pieces, if the model falls back to them.
    bytes: Option<Vec<u32>>,
}

/// Best way to reach a position of the text.
#[derive(Clone, Copy)]
struct Best {
    score: f32,
    start: usize,
    id: u32,
}

impl T5Tokenizer {
    /// Reads `spiece.model`.
    ///
    /// # Errors
    /// A file that cannot be read, is larger than 16 MiB, is no SentencePiece model, or is one
    /// that cannot be UMT5's: not unigram, `<pad>` and `</s>` not at 0 and 1, pieces repeated.
    pub fn from_file(path: &Path) -> Result<Self, TextError> {
        let model = spiece::read(path)?;
        Self::from_model(&model).map_err(|Fault { field, expected, found }| TextError::Model {
            file: path.into(),
            field,
            expected: expected.into(),
            found,
        })
    }

    /// Ids of `text`: at most 511 pieces, then `</s>`. Special tokens written out are text.
    pub fn encode(&self, text: &str) -> Vec<i64> {
        let mut ids = self.pieces(&self.normalizer.normalize(text));
        ids.truncate(MAX_TOKENS - 1);
        ids.push(EOS_ID);
        ids
    }

    /// Number of pieces; every id is below it.
    pub fn vocab_size(&self) -> usize {
        self.scores.len()
    }

    fn from_model(model: &Model) -> Result<Self, Fault> {
        check_pieces(model)?;
        check_trainer(model)?;
        let kinds = |wanted: &'static [Kind]| {
            let pieces = (0..).zip(&model.pieces).filter(|(_, p)| wanted.contains(&p.kind()));
            Prefixes::new(pieces.map(|(id, p)| (p.piece().as_bytes().into(), id)))
        };
        let score = |piece: &spiece::Piece| match piece.kind() {
            Kind::Normal => Some(Score::Piece(piece.score())),
            Kind::UserDefined => Some(Score::UserDefined),
            _ => None,
        };
        Ok(Self {
            normalizer: normalizer(model, kinds(&[Kind::UserDefined]))?,
            pieces: kinds(&[Kind::Normal, Kind::UserDefined]),
            scores: model.pieces.iter().map(score).collect(),
            unknown: unknown(model)?,
        })
    }

    /// Viterbi over all segmentations, then the ids from the end backwards.
    fn pieces(&self, text: &[u8]) -> Vec<i64> {
        let mut best: Vec<Option<Best>> = vec![None; text.len() + 1];
        let mut start = 0;
        while start < text.len() {
            self.extend(text, start, &mut best);
            start += char_len(&text[start..]);
        }
        let mut ids = Vec::new();
        let mut end = text.len();
        while let Some(Best { start, id, .. }) = best[end] {
            self.push_reversed(id, &text[start..end], &mut ids);
            end = start;
        }
        ids.reverse();
        ids
    }

    /// Tries every piece that begins at `start`, and an unknown character if none is one long.
    fn extend(&self, text: &[u8], start: usize, best: &mut [Option<Best>]) {
        let so_far = best[start].map_or(0.0, |best| best.score);
        let char_end = start + char_len(&text[start..]);
        let mut known = false;
        for (length, id) in self.pieces.of(&text[start..]) {
            let score = match self.scores[id as usize] {
                Some(Score::Piece(score)) => f64::from(score) + f64::from(so_far),
                // SentencePiece's bonus.
                Some(Score::UserDefined) => {
                    f64::from(length as f32 * f32::MIN_POSITIVE) - 0.1 + f64::from(so_far)
                }
                None => continue,
            };
            improve(&mut best[start + length], score, start, id);
            known |= start + length == char_end;
        }
        if !known {
            let score = f64::from(self.unknown.score + so_far);
            improve(&mut best[char_end], score, start, self.unknown.id);
        }
    }

    fn push_reversed(&self, id: u32, piece: &[u8], ids: &mut Vec<i64>) {
        if id != self.unknown.id {
            ids.push(id.into());
        } else if let Some(bytes) = &self.unknown.bytes {
            ids.extend(piece.iter().rev().map(|&byte| i64::from(bytes[usize::from(byte)])));
        } else if ids.last() != Some(&id.into()) {
            ids.push(id.into());
        }
    }
}

fn improve(best: &mut Option<Best>, score: f64, start: usize, id: u32) {
    if best.is_none_or(|best| score > f64::from(best.score)) {
        *best = Some(Best { score: score as f32, start, id });
    }
}

/// A field of the model that cannot be UMT5's.
struct Fault {
    field: String,
    expected: &'static str,
    found: String,
}

fn fault<T>(field: &str, expected: &'static str, found: &dyn ToString) -> Result<T, Fault> {
    Err(Fault { field: field.into(), expected, found: found.to_string() })
}

fn check_trainer(model: &Model) -> Result<(), Fault> {
    let Some(trainer) = &model.trainer else {
        return fault("trainer_spec", "present", &"none");
    };
    if trainer.model_type() != 1 {
        return fault("trainer_spec.model_type", "1 (unigram)", &trainer.model_type());
    }
    if trainer.treat_whitespace_as_suffix() {
        return fault("trainer_spec.treat_whitespace_as_suffix", "false", &true);
    }
    Ok(())
}

fn check_pieces(model: &Model) -> Result<(), Fault> {
    if !(3..=MAX_PIECES).contains(&model.pieces.len()) {
        return fault("number of pieces", "3 to 1048576", &model.pieces.len());
    }
    for (id, name) in [(PAD_ID as usize, "<pad>"), (EOS_ID as usize, "</s>")] {
        if model.pieces[id].piece() != name || model.pieces[id].kind() != Kind::Control {
            let expected = "<pad> at 0 and </s> at 1, both control pieces";
            return fault(&format!("piece {id}"), expected, &shown(&model.pieces[id]));
        }
    }
    let mut seen = HashSet::new();
    for (id, piece) in model.pieces.iter().enumerate() {
        if !(1..=MAX_PIECE_BYTES).contains(&piece.piece().len()) {
            return fault(&format!("length of piece {id}"), "1 to 256 bytes", &piece.piece().len());
        }
        if !piece.score().is_finite() {
            return fault(&format!("score of piece {id}"), "a finite number", &piece.score());
        }
        if !seen.insert(piece.piece()) {
            return fault(&format!("piece {id}"), "a piece that no earlier id has", &shown(piece));
        }
    }
    Ok(())
}

fn shown(piece: &spiece::Piece) -> String {
    let text: String = piece.piece().chars().take(32).collect();
    format!("{text:?} ({:?})", piece.kind())
}

fn normalizer(model: &Model, protected: Prefixes) -> Result<Normalizer, Fault> {
    let Some(spec) = &model.normalizer else {
        return fault("normalizer_spec", "present", &"none");
    };
    let charsmap = match spec.precompiled_charsmap() {
        [] => None,
        blob => match CharsMap::parse(blob) {
            None => {
                let expected = "trie size, trie and NUL-ended replacements";
                return fault("precompiled_charsmap", expected, &format!("{} bytes", blob.len()));
            }
            map => map,
        },
    };
    Ok(Normalizer {
        charsmap,
        protected,
        add_dummy_prefix: spec.add_dummy_prefix(),
        remove_extra_whitespaces: spec.remove_extra_whitespaces(),
        escape_whitespaces: spec.escape_whitespaces(),
    })
}

fn unknown(model: &Model) -> Result<Unknown, Fault> {
    let of_kind = |kind| (0..).zip(&model.pieces).filter(move |(_, p)| p.kind() == kind);
    let ids: Vec<u32> = of_kind(Kind::Unknown).map(|(id, _)| id).collect();
    let &[id] = &ids[..] else {
        return fault("number of unknown pieces", "1", &ids.len());
    };
    let worst = of_kind(Kind::Normal).map(|(_, piece)| piece.score()).fold(f32::MAX, f32::min);
    let fallback = model.trainer.as_ref().is_some_and(|trainer| trainer.byte_fallback());
    let bytes = fallback.then(|| byte_ids(&of_kind(Kind::Byte).collect::<Vec<_>>())).transpose()?;
    Ok(Unknown { id, score: worst - UNKNOWN_PENALTY, bytes })
}

/// Ids of `<0x00>` to `<0xFF>`.
fn byte_ids(pieces: &[(u32, &spiece::Piece)]) -> Result<Vec<u32>, Fault> {
    let id = |byte: u32| {
        let name = format!("<0x{byte:02X}>");
        let found = pieces.iter().find(|(_, piece)| piece.piece() == name);
        found.map_or_else(
            || fault(&name, "a byte piece, as byte_fallback is set", &"none"),
            |p| Ok(p.0),
        )
    };
    (0..256).map(id).collect()
}

#[cfg(test)]
mod tests;
