use super::*;
use crate::planner::tokenizer::tests::tiny_tokenizer;

const IMAGE: Visual = Visual { kind: VisualKind::Image, grid: Grid { t: 1, h: 2, w: 3 } };
const VIDEO: Visual = Visual { kind: VisualKind::Video, grid: Grid { t: 3, h: 1, w: 2 } };

fn text<'a>(prompt: &'a str, negative: &'a str) -> PlannerText<'a> {
    PlannerText { system: "sys", prompt, negative }
}

fn stream(branch: Branch, text: PlannerText<'_>, sources: &[Visual]) -> TokenStream {
    TokenStream::new(&tiny_tokenizer(), branch, text, sources, VIDEO).unwrap()
}

/// The same stream written as one string per piece.
fn encode(pieces: &[&str]) -> Vec<i64> {
    let tokenizer = tiny_tokenizer();
    pieces.iter().flat_map(|piece| tokenizer.encode(piece).unwrap()).collect()
}

const TARGET: &str = "<|vision_start|><|video_pad|><|video_pad|><|video_pad|><|video_pad|>\
                      <|video_pad|><|video_pad|><|vision_end|>";

#[test]
fn cond_holds_sources_and_the_cleaned_prompt() {
    let found = stream(Branch::Cond, text(" a  &amp;\tcat ", "bad"), &[VIDEO, IMAGE]);
    let image = "<|vision_start|><|image_pad|><|image_pad|><|image_pad|><|image_pad|>\
                 <|image_pad|><|image_pad|><|vision_end|>";
    let user = format!("{TARGET}{image}a & cat");
    let expected = [
        "<|im_start|>system\n",
        "sys",
        "<|im_start|>user\n",
        &user,
        "<|im_start|>assistant\n",
        TARGET,
    ];
    assert_eq!(found.ids, encode(&expected));
    let pads = |block: &VisualBlock| found.ids[block.range()].to_vec();
    let special = tiny_tokenizer().special();
    assert_eq!(pads(&found.sources[0]), [special.video_pad; 6]);
    assert_eq!(pads(&found.sources[1]), [special.image_pad; 6]);
    assert_eq!(pads(&found.target), [special.video_pad; 6]);
    assert_eq!(found.ids[found.target.start - 1], special.vision_start);
    assert_eq!(found.target.range().end, found.len() - 1);
    assert_eq!(found.prefix_len(), found.prefix().count());
    assert_eq!(found.prefix().last(), Some(found.len() - 1));
}

#[test]
fn imgcond_has_no_sources_and_uncond_the_raw_negative_prompt() {
    let found = stream(Branch::ImgCond, text("cat", "bad"), &[IMAGE]);
    assert_eq!((&found, found.sources.len()), (&stream(Branch::Cond, text("cat", ""), &[]), 0));
    let found = stream(Branch::Uncond, text("cat", "\n a &amp; b "), &[IMAGE]);
    let expected = ["<|im_start|>system\n", "sys", "<|im_start|>user\n", "a &amp; b"];
    assert_eq!(found.ids, encode(&[&expected[..], &["<|im_start|>assistant\n", TARGET]].concat()));
}

#[test]
fn messages_without_content_vanish_with_their_role() {
    let expected = encode(&["<|im_start|>system\n", "sys", "<|im_start|>assistant\n", TARGET]);
    for negative in ["", "x", "猫", " \n ", " x\n"] {
        assert_eq!(stream(Branch::Uncond, text("cat", negative), &[]).ids, expected, "{negative}");
    }
    assert!(stream(Branch::Uncond, text("cat", "no"), &[]).len() > expected.len());
    let bare = PlannerText { system: "", prompt: "", negative: "" };
    assert_eq!(stream(Branch::Cond, bare, &[]).ids, encode(&["<|im_start|>assistant\n", TARGET]));
    assert!(!stream(Branch::Cond, bare, &[IMAGE]).sources.is_empty());
}

#[test]
fn special_tokens_of_a_prompt_are_no_placeholders() {
    let found = stream(Branch::Cond, text("a<|video_pad|>b", ""), &[]);
    assert!(found.sources.is_empty());
    let pad = tiny_tokenizer().special().video_pad;
    assert_eq!(found.prefix().filter(|&i| found.ids[i] == pad).count(), 1);
}

#[test]
fn unknown_tasks_get_the_default_sentence() {
    assert_eq!(system_sentence("mv2v"), system_sentence("default"));
    for task in ["t2i", "t2v", "i2i", "v2v", "r2v", "rv2v"] {
        assert!(system_sentence(task).starts_with("You are a helpful assistant specialized in "));
    }
}
