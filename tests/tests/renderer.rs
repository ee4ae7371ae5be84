//! The composed renderer against a plain composition of the reference modules: prompts and pixels
//! in, frames out, over six steps that cross the expert switch.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::LazyLock;

use bernini_runner::guidance::{ApgParams, Omegas};
use bernini_runner::media::load_image;
use bernini_runner::pipeline::{Pipeline, Trace};
use bernini_runner::renderer::SourceIds;
use bernini_runner::report::Report;
use bernini_runner::request::Request;
use bernini_runner::scheduler::SchedulerKind;
use bernini_tests::{Golden, Model};
use image::RgbImage;
use ndarray::{Array4, ArrayView4, Axis, IxDyn};
use serde_json::Value;

static MODEL: LazyLock<Model> = LazyLock::new(Model::renderer);
static GOLDEN: LazyLock<Golden> = LazyLock::new(|| Golden::load("renderer"));
/// Ten times the sensitivity of the reference itself to f32 rounding (tests/reference/README.md).
const STATES: f64 = 5e-5;

/// Writes pictures u8 `[n, h, w, 3]` losslessly: a folder of png, or the frames of a video.
fn pictures(name: &str) -> Vec<RgbImage> {
    let input = GOLDEN.input(name);
    let batch = if input.ndim() == 3 { input.insert_axis(Axis(0)) } else { input };
    let frames = batch.outer_iter().map(|frame| {
        let (h, w) = (frame.shape()[0] as u32, frame.shape()[1] as u32);
        RgbImage::from_raw(w, h, frame.iter().map(|&x| x as u8).collect()).unwrap()
    });
    frames.collect()
}

/// Saves a picture of the golden and gives its path.
fn save(run: &str, name: &str) -> PathBuf {
    let path = MODEL.scratch(format!("{run}_{name}.png"));
    pictures(name)[0].save(&path).unwrap();
    path
}

/// A lossless clip: ffv1 in a Matroska container keeps every RGB value.
fn save_clip(run: &str, name: &str, fps: f64) -> PathBuf {
    let path = MODEL.scratch(format!("{run}_{name}.mkv"));
    bernini_tests::write_lossless_clip(&path, &pictures(name), fps);
    path
}

fn request(name: &str, run: &Value) -> Request {
    let text = |key: &str| run[key].as_str().unwrap().to_string();
    let number = |key: &str, default: f64| run[key].as_f64().unwrap_or(default);
    let omega = |key: &str| run["omega"][key].as_f64().unwrap();
    let thresholds: Vec<f64> = run["thresholds"]
        .as_array()
        .map_or(vec![50.0; 3], |thresholds| thresholds.iter().filter_map(Value::as_f64).collect());
    let video = &run["video"];
    let videos = match video["input"].as_str() {
        Some(input) => vec![save_clip(name, input, video["fps"].as_f64().unwrap())],
        None => vec![],
    };
    let images = run["images"].as_array().unwrap().iter();
    Request {
        task_type: "v2v".into(),
        guidance_mode: text("mode").parse().unwrap(),
        prompt: text("prompt"),
        neg_prompt: text("negative_prompt"),
        system_prompt: text("system_prompt"),
        videos,
        image: None,
        images: images.map(|image| save(name, image.as_str().unwrap())).collect(),
        output: MODEL.scratch(format!("{name}/")),
        num_frames: number("num_frames", 0.0) as usize,
        max_image_size: number("max_image_size", 0.0) as u32,
        height: number("height", 0.0) as u32,
        width: number("width", 0.0) as u32,
        num_inference_steps: number("steps", 0.0) as usize,
        scheduler: SchedulerKind::UniPc,
        flow_shift: number("flow_shift", 0.0),
        seed: number("seed", 0.0) as u64,
        noise: None,
        fps: 16,
        omegas: Omegas {
            vid: omega("vid"),
            img: omega("img"),
            txt: omega("txt"),
            tgt: 0.0,
            scale: number("omega_scale", 0.0),
        },
        apg: ApgParams {
            eta: 0.5,
            norm_threshold: thresholds.try_into().unwrap(),
            momentum: number("momentum", 0.0),
        },
        source_ids: SourceIds { enabled: true, interpolate: true, max_trained: 5 },
        reference_schedule: false,
    }
}

fn run(request: &Request) -> (Report, Trace) {
    let pipeline = Pipeline::open(MODEL.export.clone(), Box::new(MODEL.backend())).unwrap();
    pipeline.run_traced(request, &request.plan().unwrap()).unwrap()
}

fn close(name: &str, found: ArrayView4<'_, f32>, expected: ArrayView4<'_, f32>, allowed: f64) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    let values = |array: ArrayView4<'_, f32>| array.iter().copied().collect::<Vec<_>>();
    let error = bernini_tests::relative_l2(&values(found), &values(expected));
    assert!(error <= allowed, "{name}: relative L2 {error:.2e}, allowed {allowed:.0e}");
}

fn matches_reference(name: &str) -> Report {
    let golden = &GOLDEN;
    let request = request(name, &golden.json["runs"][name]);
    let (report, trace) = run(&request);
    for (i, which) in ["positive", "negative"].iter().enumerate() {
        let expected = golden.output::<IxDyn>(&format!("{name}.{which}"));
        let found = trace.prompt_embeds[i].as_slice().unwrap();
        bernini_tests::assert_parity(which, found, expected.as_slice().unwrap());
    }
    for (i, source) in trace.sources.iter().enumerate() {
        let expected = golden.output::<ndarray::Ix5>(&format!("{name}.source_{i}"));
        close("source", source.view(), expected.index_axis(Axis(0), 0), 1e-5);
    }
    let velocities = golden.output::<ndarray::Ix5>(&format!("{name}.velocities"));
    let states = golden.output::<ndarray::Ix5>(&format!("{name}.states"));
    assert_eq!(trace.velocities.len(), velocities.dim().0);
    for i in 0..velocities.dim().0 {
        let (velocity, state) = (trace.velocities[i].view(), trace.latents[i].view());
        close(&format!("velocity {i}"), velocity, velocities.index_axis(Axis(0), i), 5.0 * STATES);
        close(&format!("state {i}"), state, states.index_axis(Axis(0), i), STATES);
    }
    compare_frames(&request, &golden.output(&format!("{name}.frames")));
    report
}

/// Frames within one level of the reference's u8 `[n, h, w, 3]`.
fn compare_frames(request: &Request, expected: &Array4<f32>) {
    let files = std::fs::read_dir(&request.output).unwrap().count();
    assert_eq!(files, expected.dim().0);
    for (i, frame) in expected.outer_iter().enumerate() {
        let found = load_image(&request.output.join(format!("{i:05}.png"))).unwrap();
        assert_eq!(
            (found.height() as usize, found.width() as usize),
            (frame.dim().0, frame.dim().1)
        );
        let largest = found
            .as_raw()
            .iter()
            .zip(frame.iter())
            .map(|(&a, &b)| (f32::from(a) - b).abs())
            .fold(0.0, f32::max);
        assert!(largest <= 1.0, "frame {i}: largest difference {largest} of 255");
    }
}

#[test]
fn text_to_video_matches_the_reference() {
    let report = matches_reference("t2v");
    assert_eq!((report.steps_high_noise, report.steps_low_noise), (3, 3));
    assert_eq!(report.forwards, 12);
}

#[test]
fn video_with_two_images_matches_the_reference() {
    let report = matches_reference("rv2v");
    assert_eq!(report.forwards, 24);
}

#[test]
fn images_with_projected_guidance_match_the_reference() {
    matches_reference("r2v_apg");
}

#[test]
fn kept_keys_and_values_equal_recomputed_ones() {
    let kept = request("t2v", &GOLDEN.json["runs"]["t2v"]);
    let kept = Request { output: MODEL.scratch("kept/"), ..kept };
    let recomputed =
        Request { reference_schedule: true, output: MODEL.scratch("recomputed/"), ..kept.clone() };
    let ((few, a), (many, b)) = (run(&kept), run(&recomputed));
    assert_eq!(a.latents, b.latents, "bit for bit");
    let contexts =
        |report: &Report| report.stages.iter().find(|stage| stage.name == "context").unwrap().count;
    assert_eq!((contexts(&few), contexts(&many)), (4, 12));
}
