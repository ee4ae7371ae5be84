//! A small SentencePiece model, as the file that a T5 checkpoint has.
//!
//! Field numbers are facts of sentencepiece_model.proto (proto2).

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer_spec: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer_spec: Option<NormalizerSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct TrainerSpec {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    vocab_size: Option<i32>,
    #[prost(bool, optional, tag = "35")]
    byte_fallback: Option<bool>,
    #[prost(int32, optional, tag = "40")]
    unk_id: Option<i32>,
    #[prost(int32, optional, tag = "41")]
    bos_id: Option<i32>,
    #[prost(int32, optional, tag = "42")]
    eos_id: Option<i32>,
    #[prost(int32, optional, tag = "43")]
    pad_id: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct NormalizerSpec {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    escape_whitespaces: Option<bool>,
}

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;
const UNIGRAM: i32 = 1;
/// SentencePiece's sign for a space.
const SPACE: char = '\u{2581}';
/// Words that prompts are made of; the most frequent first.
pub const WORDS: &str = "a the and of in on with to is cat dog walks runs slowly quickly red blue green \
    white black car bicycle street snow snowy city sea mountain river forest sky sun light night \
    day man woman person child hat image video camera follows shot cinematic detailed high quality \
    natural soft clouds water painting style background foreground left right replace remove add \
    change make turn keep everything else unchanged first second last from into by at over under \
    across while its it you are helpful assistant specialized editing generation blurred details \
    static overall gray worst low";

/// A Unigram model with byte fallback of `size` pieces at least: 0 `<pad>`, 1 `</s>`, 2 `<unk>`,
/// 256 bytes, printable ASCII, words, and syllables for the rest.
pub fn model(size: usize) -> Vec<u8> {
    let mut pieces = vec![
        piece("<pad>", 0.0, CONTROL),
        piece("</s>", 0.0, CONTROL),
        piece("<unk>", 0.0, UNKNOWN),
    ];
    pieces.extend((0..256).map(|byte| piece(&format!("<0x{byte:02X}>"), 0.0, BYTE)));
    let texts = std::iter::once(SPACE.to_string())
        .chain(WORDS.split_whitespace().map(|word| format!("{SPACE}{word}")))
        .chain(('!'..='~').map(String::from).filter(|c| c != "a"))
        .chain(["a".to_string()])
        .chain(syllables());
    let mut seen = std::collections::HashSet::new();
    let texts = texts.filter(|text| seen.insert(text.clone()));
    for (rank, text) in texts.enumerate() {
        if pieces.len() >= size && text.chars().count() > 1 && !text.starts_with(SPACE) {
            break;
        }
        pieces.push(piece(&text, -2.0 - (rank as f32 + 1.0).ln(), NORMAL));
    }
    let count = pieces.len() as i32;
    let model = ModelProto {
        pieces,
        trainer_spec: Some(TrainerSpec {
            model_type: Some(UNIGRAM),
            vocab_size: Some(count),
            byte_fallback: Some(true),
            unk_id: Some(2),
            bos_id: Some(-1),
            eos_id: Some(1),
            pad_id: Some(0),
        }),
        normalizer_spec: Some(NormalizerSpec {
            name: Some("identity".into()),
            precompiled_charsmap: Some(vec![]),
            add_dummy_prefix: Some(true),
            remove_extra_whitespaces: Some(true),
            escape_whitespaces: Some(true),
        }),
    };
    model.encode_to_vec()
}

fn piece(text: &str, score: f32, kind: i32) -> Piece {
    Piece { piece: Some(text.into()), score: Some(score), kind: Some(kind) }
}

/// Two and three letters in all combinations.
fn syllables() -> impl Iterator<Item = String> {
    let letters = || 'a'..='z';
    let pairs = letters().flat_map(move |a| letters().map(move |b| format!("{a}{b}")));
    let triples = pairs.clone().flat_map(move |ab| letters().map(move |c| format!("{ab}{c}")));
    pairs.chain(triples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_unique_and_ids_are_those_of_umt5() {
        for size in [0, 461, 8000] {
            let model = ModelProto::decode(model(size).as_slice()).unwrap();
            let texts: Vec<_> = model.pieces.iter().filter_map(|p| p.piece.clone()).collect();
            assert_eq!(texts[..3], ["<pad>", "</s>", "<unk>"]);
            assert_eq!(texts[3 + 0xE4], "<0xE4>");
            let unique: std::collections::HashSet<_> = texts.iter().collect();
            assert_eq!(unique.len(), texts.len());
            assert!(texts.len() >= size && texts.len() <= size.max(461), "{}", texts.len());
        }
    }
}
