//! `bernini doctor`: what this machine has, and what to do about the rest.

use bernini_runner::backend::onnxruntime_library;
use bernini_runner::media;
use bernini_tensorrt::cuda::Device;
use bernini_tensorrt::{Error, PluginLibrary, TensorRt};
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
    let device = Device::open(0).map_err(|error| error.to_string());
    let library = TensorRt::open();
    let findings = [
        onnxruntime(),
        ffmpeg(),
        driver(),
        gpu(&device),
        gpu_memory(&device),
        tensorrt(&library),
        shim(&library),
        plugin(),
        cudnn(),
    ];
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

fn gpu(device: &Result<Device, String>) -> Finding {
    let show = |device: &Device| {
        let ((major, minor), cuda) = (device.compute_capability(), device.cuda_driver());
        let name = device.name();
        format!("{name}, compute capability {major}.{minor}, CUDA up to {}.{}", cuda.0, cuda.1)
    };
    on_device("GPU", device, |device| Ok(show(device)))
}

fn gpu_memory(device: &Result<Device, String>) -> Finding {
    let gib = |bytes: usize| bytes as f64 / f64::from(1 << 30);
    on_device("GPU memory", device, |device| {
        let memory = device.memory().map_err(|error| error.to_string())?;
        Ok(format!("{:.1} GiB, {:.1} GiB free", gib(memory.total), gib(memory.free)))
    })
}

fn on_device(
    name: &'static str,
    device: &Result<Device, String>,
    show: impl FnOnce(&Device) -> Result<String, String>,
) -> Finding {
    let shown = device.as_ref().map_err(Clone::clone).and_then(show);
    let advice = shown.as_ref().err().map(|why| format!("{why}; the CPU path needs none"));
    Finding { name, found: shown.ok(), advice: advice.unwrap_or_default(), needed: false }
}

fn tensorrt(library: &Result<TensorRt, Error>) -> Finding {
    let path = library_path("TENSORRT_LIB_DIR", "libnvinfer.so.");
    let found = match (library, path) {
        (Ok(library), path) => {
            let place = path.unwrap_or("where the loader looks".into());
            Some(format!("{} from {place}", library.version()))
        }
        (Err(_), path) => path.map(|path| format!("{path}, not opened")),
    };
    let advice = "engines need TensorRT 10.6 or later; the CPU path needs none".into();
    Finding { name: "TensorRT", found, advice, needed: false }
}

fn shim(library: &Result<TensorRt, Error>) -> Finding {
    let (found, advice) = match library {
        Err(error @ Error::NotCompiled) => (None, error.to_string()),
        Err(error) => (Some(format!("compiled in; {error}")), String::new()),
        Ok(_) => (Some("compiled in".into()), String::new()),
    };
    Finding { name: "TensorRT shim", found, advice, needed: false }
}

fn plugin() -> Finding {
    let (found, advice) = match PluginLibrary::find() {
        Ok(Some(PluginLibrary { path, blake3 })) => {
            (Some(format!("{}, blake3 {blake3}", path.display())), String::new())
        }
        Ok(None) => (None, "FP8 attention needs it: `./x plugin`, BERNINI_PLUGIN".into()),
        Err(error) => (None, error.to_string()),
    };
    Finding { name: "plugin", found, advice, needed: false }
}

fn cudnn() -> Finding {
    let found = library_path("CUDNN_LIB_DIR", "libcudnn.so.9");
    let advice = "the plugin needs cuDNN 9: set CUDNN_LIB_DIR to the folder of libcudnn.so.9";
    Finding { name: "cuDNN", found, advice: advice.into(), needed: false }
}

/// The library that the loader would find: its name begins so, and the variable may name its folder.
fn library_path(folder: &str, start: &str) -> Option<String> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let paths = format!("{}:{}", variable(folder), variable("LD_LIBRARY_PATH"));
    let usual = ["/usr/lib/x86_64-linux-gnu", "/usr/local/lib", "/usr/local/tensorrt/lib"];
    let folders = paths.split(':').filter(|folder| !folder.is_empty()).chain(usual);
    folders.flat_map(std::fs::read_dir).flatten().flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.starts_with(start).then(|| entry.path().display().to_string())
    })
}
