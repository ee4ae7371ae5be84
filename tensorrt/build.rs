//! Compiles the C++ shim (feature `shim`). Headers: TENSORRT_INCLUDE_DIR, else the usual places.

fn main() {
    println!("cargo::rerun-if-env-changed=TENSORRT_INCLUDE_DIR");
    println!("cargo::rerun-if-changed=shim");
    #[cfg(feature = "shim")]
    shim::compile();
}

#[cfg(feature = "shim")]
mod shim {
    use std::{
        env, fs,
        path::{Path, PathBuf},
        process,
    };

    const PLACES: [&str; 5] = [
        "/usr/include/x86_64-linux-gnu",
        "/usr/include",
        "/usr/local/include",
        "/usr/local/tensorrt/include",
        "/usr/local/cuda/include",
    ];

    pub fn compile() {
        let include = headers().unwrap_or_else(|message| {
            println!("cargo::error={message}");
            process::exit(1);
        });
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            .files(sources())
            .flag("-isystem")
            .flag(&include)
            .flag("-isystem")
            .flag("shim/stub")
            .extra_warnings(true)
            .warnings_into_errors(true)
            .compile("bernini_shim");
    }

    /// The folder of NvInfer.h and NvOnnxParser.h.
    fn headers() -> Result<PathBuf, String> {
        let complete = |folder: &Path| {
            folder.join("NvInfer.h").is_file() && folder.join("NvOnnxParser.h").is_file()
        };
        if let Some(folder) = env::var_os("TENSORRT_INCLUDE_DIR").map(PathBuf::from) {
            return complete(&folder).then_some(folder.clone()).ok_or_else(|| {
                format!(
                    "TENSORRT_INCLUDE_DIR={} lacks NvInfer.h or NvOnnxParser.h; \
                     set it to the folder that holds both",
                    folder.display()
                )
            });
        }
        PLACES.iter().map(PathBuf::from).find(|folder| complete(folder)).ok_or_else(|| {
            format!(
                "TensorRT's headers (NvInfer.h, NvOnnxParser.h) are in none of {}; \
                 set TENSORRT_INCLUDE_DIR to their folder, or build without the feature shim",
                PLACES.join(", ")
            )
        })
    }

    fn sources() -> Vec<PathBuf> {
        let files = fs::read_dir("shim").expect("invariant: the package holds its shim");
        let mut sources: Vec<_> = files
            .filter_map(|file| file.ok().map(|file| file.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "cpp"))
            .collect();
        sources.sort();
        sources
    }
}
