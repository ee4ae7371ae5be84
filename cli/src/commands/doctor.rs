//! `bernini doctor`: what this machine has, and what to do about the rest.

use bernini_runner::backend::onnxruntime_library;
use bernini_runner::media;
use serde::Serialize;

use crate::Outcome;
use crate::args::DoctorArgs;

#[derive(Serialize)]
struct Finding {
    name: &'static str,
    found: Option<String>,
    advice: String,
    needed: bool,
}

pub fn doctor(args: &DoctorArgs) -> anyhow::Result<Outcome> {
    let findings = [onnxruntime(), ffmpeg(), driver(), tensorrt()];
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        for Finding { name, found, advice, .. } in &findings {
            match found {
                Some(found) => println!("{name:<14} {found}"),
                None => println!("{name:<14} not found: {advice}"),
            }
        }
    }
    let missing = findings.iter().any(|finding| finding.needed && finding.found.is_none());
    Ok(if missing { Outcome::CheckFailed } else { Outcome::Done })
}

fn onnxruntime() -> Finding {
    let library = onnxruntime_library();
    let advice = library.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let found = library.ok().map(|path| path.display().to_string());
    Finding { name: "ONNX Runtime", found, advice, needed: true }
}

fn ffmpeg() -> Finding {
    let found = Some(media::ffmpeg_versions());
    Finding { name: "FFmpeg", found, advice: String::new(), needed: true }
}

fn driver() -> Finding {
    let version = std::fs::read_to_string("/proc/driver/nvidia/version").ok();
    let found = version.and_then(|text| Some(text.lines().next()?.trim().to_string()));
    let advice = "no NVIDIA driver; the CPU path needs none".into();
    Finding { name: "NVIDIA driver", found, advice, needed: false }
}

fn tensorrt() -> Finding {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/local/lib", "/usr/local/tensorrt/lib"];
    let paths = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = paths.split(':').filter(|folder| !folder.is_empty()).chain(folders);
    let found = folders.flat_map(std::fs::read_dir).flatten().flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.starts_with("libnvinfer.so.").then(|| entry.path().display().to_string())
    });
    let advice = "engines need TensorRT 10.6 or later; the CPU path needs none".into();
    Finding { name: "TensorRT", found, advice, needed: false }
}
