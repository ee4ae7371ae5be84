//! Requests of the composed goldens, with their pictures and clips written losslessly.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use bernini_runner::guidance::{ApgParams, GuidanceMode, Omegas};
use bernini_runner::media::load_image;
use bernini_runner::planner::system_sentence;
use bernini_runner::prompts::task_types;
use bernini_runner::renderer::SourceIds;
use bernini_runner::request::Request;
use bernini_runner::scheduler::SchedulerKind;
use image::RgbImage;
use ndarray::{Array4, Axis};
use serde_json::Value;

use crate::{Golden, Model, write_lossless_clip};

/// Sources written so far. Each request has its own: tests run side by side, and one must not read
/// what another is writing.
static SOURCES: AtomicUsize = AtomicUsize::new(0);

fn source(model: &Model, name: &str) -> PathBuf {
    model.scratch(format!("source_{}_{name}", SOURCES.fetch_add(1, Ordering::Relaxed)))
}

impl Golden {
    /// Pictures of an input u8 `[h, w, 3]` or `[n, h, w, 3]`.
    pub fn pictures(&self, name: &str) -> Vec<RgbImage> {
        let input = self.input(name);
        let batch = if input.ndim() == 3 { input.insert_axis(Axis(0)) } else { input };
        let frames = batch.outer_iter().map(|frame| {
            let (h, w) = (frame.shape()[0] as u32, frame.shape()[1] as u32);
            let pixels = frame.iter().map(|&x| x as u8).collect();
            RgbImage::from_raw(w, h, pixels).expect("as many bytes as pixels")
        });
        frames.collect()
    }

    /// The request of the run called `name`; its output is a folder of frames in the model's
    /// scratch folder.
    pub fn request(&self, model: &Model, name: &str) -> Request {
        let (run, variant) = (&self.json["runs"][name], model.export.manifest().variant);
        let text = |key: &str| run[key].as_str().expect(key).to_string();
        let number = |key: &str, default: f64| run[key].as_f64().unwrap_or(default);
        let omega = |key: &str| run["omega"][key].as_f64().unwrap_or(0.0);
        let thresholds = run["thresholds"].as_array().map_or(vec![50.0; 3], |thresholds| {
            thresholds.iter().filter_map(Value::as_f64).collect()
        });
        let mut norm_threshold = [0.0; 3];
        norm_threshold.copy_from_slice(&thresholds);
        let images = run["images"].as_array().expect("a list").iter();
        Request {
            task_type: run["planner_system"].as_str().map_or("v2v", task_of).into(),
            guidance_mode: GuidanceMode::parse(&text("mode"), variant).expect("a legal mode"),
            prompt: text("prompt"),
            neg_prompt: text("negative_prompt"),
            system_prompt: text("system_prompt"),
            videos: videos(run).map(|clip| self.clip(model, clip)).collect(),
            image: None,
            images: images.map(|image| self.picture(model, image)).collect(),
            output: model.scratch(format!("{name}/")),
            num_frames: number("num_frames", 0.0) as usize,
            max_image_size: number("max_image_size", 0.0) as u32,
            height: number("height", 0.0) as u32,
            width: number("width", 0.0) as u32,
            num_inference_steps: number("steps", 1.0) as usize,
            scheduler: SchedulerKind::UniPc,
            flow_shift: number("flow_shift", 5.0),
            seed: number("seed", 0.0) as u64,
            noise: None,
            fps: 16,
            omegas: Omegas {
                vid: omega("vid"),
                img: omega("img"),
                txt: omega("txt"),
                tgt: omega("tgt"),
                scale: number("omega_scale", 1.0),
            },
            apg: ApgParams { eta: 0.5, norm_threshold, momentum: number("momentum", 0.0) },
            source_ids: SourceIds { enabled: true, interpolate: true, max_trained: 5 },
            planning_step: number("planning_step", 25.0) as usize,
            vit_txt_cfg: number("vit_txt_cfg", 1.2),
            vit_img_cfg: run["vit_img_cfg"].as_f64(),
            vit_denoising_step: number("vit_denoising_step", 5.0) as usize,
            reference_schedule: false,
        }
    }

    fn picture(&self, model: &Model, name: &Value) -> PathBuf {
        let name = name.as_str().expect("the name of an input");
        let path = source(model, &format!("{name}.png"));
        self.pictures(name)[0].save(&path).expect("it is written");
        path
    }

    fn clip(&self, model: &Model, clip: &Value) -> PathBuf {
        let name = clip["input"].as_str().expect("the name of an input");
        let path = source(model, &format!("{name}.mkv"));
        write_lossless_clip(&path, &self.pictures(name), clip["fps"].as_f64().expect("a rate"));
        path
    }

    /// Asserts that the frames in `request.output` are within one level of the run's, u8
    /// `[n, h, w, 3]`.
    ///
    /// # Panics
    /// When they are not.
    pub fn compare_frames(&self, request: &Request, name: &str) {
        let expected: Array4<f32> = self.output(&format!("{name}.frames"));
        let files = std::fs::read_dir(&request.output).expect("a folder").count();
        assert_eq!(files, expected.dim().0, "{name}: number of frames");
        for (i, frame) in expected.outer_iter().enumerate() {
            let found = load_image(&request.output.join(format!("{i:05}.png"))).expect("a png");
            let size = (found.height() as usize, found.width() as usize);
            assert_eq!(size, (frame.dim().0, frame.dim().1), "{name}: size");
            let differences =
                found.as_raw().iter().zip(frame.iter()).map(|(&a, &b)| (f32::from(a) - b).abs());
            let largest = differences.fold(0.0, f32::max);
            assert!(largest <= 1.0, "{name}, frame {i}: largest difference {largest} of 255");
        }
    }
}

fn videos(run: &Value) -> impl Iterator<Item = &Value> {
    let several = run["videos"].as_array().into_iter().flatten();
    several.chain(run["video"].is_object().then_some(&run["video"]))
}

/// A task whose sentence in the planner is `sentence`.
fn task_of(sentence: &str) -> &'static str {
    let found = task_types().find(|task| system_sentence(task) == sentence);
    found.unwrap_or_else(|| panic!("no task has the sentence {sentence:?}"))
}
