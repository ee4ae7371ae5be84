use super::*;
use prost::Message;
use spiece::{NormalizerSpec, Piece, TrainerSpec};

fn piece(text: &str, score: f32, kind: Kind) -> Piece {
    Piece { piece: Some(text.into()), score: Some(score), kind: Some(kind.into()) }
}

/// Ids: 0 <pad>, 1 </s>, 2 <unk>, then the pieces, then 256 byte pieces.
fn model(pieces: &[(&str, f32)], byte_fallback: bool) -> Model {
    let special = [("<pad>", Kind::Control), ("</s>", Kind::Control), ("<unk>", Kind::Unknown)];
    let special = special.map(|(text, kind)| piece(text, 0.0, kind));
    let normal = pieces.iter().map(|&(text, score)| piece(text, score, Kind::Normal));
    let bytes = (0..256).map(|byte| piece(&format!("<0x{byte:02X}>"), 0.0, Kind::Byte));
    Model {
        pieces: special.into_iter().chain(normal).chain(bytes).collect(),
        trainer: Some(TrainerSpec { byte_fallback: Some(byte_fallback), ..Default::default() }),
        normalizer: Some(NormalizerSpec::default()),
    }
}

fn load(model: &Model) -> Result<T5Tokenizer, TextError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spiece.model");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    T5Tokenizer::from_file(&path)
}

const WORDS: [(&str, f32); 4] = [("▁", -2.0), ("a", -3.0), ("▁a", -4.0), ("aa", -3.5)];

#[test]
fn the_best_segmentation_wins() {
    let tokenizer = load(&model(&WORDS, true)).unwrap();
    assert_eq!(tokenizer.encode("aa"), [3, 6, 1]);
    assert_eq!(tokenizer.encode("aaa aa"), [5, 6, 3, 6, 1]);
    assert_eq!(tokenizer.encode(""), [1]);
    assert_eq!(tokenizer.vocab_size(), 3 + 4 + 256);
}

#[test]
fn unknown_characters_become_bytes_or_one_unknown() {
    let byte = |value: i64| 7 + value;
    let tokenizer = load(&model(&WORDS, true)).unwrap();
    assert_eq!(tokenizer.encode("é"), [3, byte(0xc3), byte(0xa9), 1]);
    let mut without = model(&WORDS, false);
    without.pieces.truncate(7);
    assert_eq!(load(&without).unwrap().encode("éé a"), [3, 2, 5, 1]);
}

#[test]
fn special_tokens_in_a_prompt_are_text() {
    let tokenizer = load(&model(&WORDS, true)).unwrap();
    for text in ["</s>", "<pad>", "<unk>", "<0x41>", "a</s>a"] {
        let ids = tokenizer.encode(text);
        let (last, text_ids) = ids.split_last().unwrap();
        assert!(*last == EOS_ID && text_ids.iter().all(|&id| id > 2), "{text}: {ids:?}");
    }
}

#[test]
fn long_prompts_keep_511_pieces() {
    let ids = load(&model(&WORDS, true)).unwrap().encode(&"b".repeat(5000));
    assert_eq!((ids.len(), ids[511]), (MAX_TOKENS, EOS_ID));
}

#[test]
fn a_user_defined_symbol_beats_its_letters() {
    let mut with_symbol = model(&WORDS, true);
    with_symbol.pieces.push(piece("aaa", 0.0, Kind::UserDefined));
    assert_eq!(load(&with_symbol).unwrap().encode("aaaa"), [5, 263, 1]);
}

#[test]
fn models_that_cannot_be_umt5_are_refused() {
    let good = model(&WORDS, true);
    type Change = fn(&mut Model);
    let changes: [(&str, Change); 11] = [
        ("number of pieces", |m| m.pieces.truncate(2)),
        ("piece 0", |m| m.pieces.swap(0, 2)),
        ("piece 1", |m| m.pieces[1].kind = Some(Kind::Normal.into())),
        ("score of piece 4", |m| m.pieces[4].score = Some(f32::NAN)),
        ("length of piece 4", |m| m.pieces[4].piece = Some("a".repeat(257))),
        ("piece 5", |m| m.pieces[5].piece = Some("a".into())),
        ("number of unknown pieces", |m| m.pieces[2].kind = Some(Kind::Control.into())),
        ("<0xFF>", |m| m.pieces.truncate(262)),
        ("trainer_spec", |m| m.trainer = None),
        ("normalizer_spec", |m| m.normalizer = None),
        ("model_type", |m| m.trainer.as_mut().unwrap().model_type = Some(2)),
    ];
    for (field, change) in changes {
        let mut bad = good.clone();
        change(&mut bad);
        let error = load(&bad).err().unwrap();
        assert!(matches!(error, TextError::Model { .. }), "{field}");
        assert!(error.to_string().contains(field), "{field}: {error}");
    }
}

#[test]
fn hostile_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spiece.model");
    assert!(matches!(T5Tokenizer::from_file(&path), Err(TextError::Io { .. })));
    let good = model(&WORDS, true).encode_to_vec();
    for length in (0..good.len()).step_by(7) {
        std::fs::write(&path, &good[..length]).unwrap();
        assert!(T5Tokenizer::from_file(&path).is_err(), "{length} bytes");
    }
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(T5Tokenizer::from_file(&path), Err(TextError::FileTooLarge { .. })));
}
