//! Finding and opening TensorRT's libraries.

use std::{
    env,
    ffi::{OsStr, OsString, c_int},
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LAZY, RTLD_NOW, Symbol};

use crate::{Error, Version, sys::Entry};

/// Names the folder of libnvinfer, libnvonnxparser and the builder resources.
const FOLDER: &str = "TENSORRT_LIB_DIR";
const LOADER_PATH: &str = "LD_LIBRARY_PATH";
/// Major versions to look for beyond the wanted one, to say what is there instead.
const MAJORS: std::ops::RangeInclusive<u32> = 8..=12;

/// What was found. The libraries stay open until the process ends: TensorRT keeps threads and
/// static state.
pub(crate) struct Libraries {
    pub entries: Entries,
    pub version: Version,
    pub folder: Option<PathBuf>,
}

/// Functions that give TensorRT's first objects; only the shim calls them.
#[derive(Clone, Copy)]
pub(crate) struct Entries {
    pub builder: Entry,
    pub runtime: Entry,
    pub parser: Entry,
    pub registry: Entry,
}

/// The folder that the environment names.
pub(crate) fn folder() -> Option<PathBuf> {
    env::var_os(FOLDER).filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// Opens the libraries of this major version in `folder`, else where the loader looks.
pub(crate) fn open(major: u32, folder: Option<&Path>) -> Result<Libraries, Error> {
    let nvinfer = Opened::find("libnvinfer", major, folder)?;
    let version = nvinfer.version(major)?;
    if version.major != major {
        let found = version.to_string();
        return Err(Error::WrongMajor { library: nvinfer.name, found, expected: major });
    }
    let parser = Opened::find("libnvonnxparser", major, folder)?;
    let entries = Entries {
        builder: nvinfer.entry("createInferBuilder_INTERNAL", major)?,
        runtime: nvinfer.entry("createInferRuntime_INTERNAL", major)?,
        parser: parser.entry("createNvOnnxParser_INTERNAL", major)?,
        registry: nvinfer.entry("getPluginRegistry", major)?,
    };
    std::mem::forget((nvinfer.library, parser.library));
    Ok(Libraries { entries, version, folder: folder.map(Path::to_path_buf) })
}

struct Opened {
    library: Library,
    name: String,
}

impl Opened {
    /// Opens `{stem}.so.{major}`, else another version, whose number the caller checks.
    fn find(stem: &str, major: u32, folder: Option<&Path>) -> Result<Self, Error> {
        let mut names = vec![format!("{stem}.so.{major}"), format!("{stem}.so")];
        names
            .extend(MAJORS.rev().filter(|&other| other != major).map(|n| format!("{stem}.so.{n}")));
        let mut tried = Vec::new();
        for name in &names {
            let path = folder.map_or(PathBuf::from(name), |folder| folder.join(name));
            // The parser takes libnvinfer's symbols from the global scope.
            match open_library(path.as_os_str(), RTLD_NOW | RTLD_GLOBAL) {
                Ok(library) => return Ok(Self { library, name: path.display().to_string() }),
                Err(error) => tried.push(error.to_string()),
            }
        }
        tried.truncate(2);
        Err(Error::Library { library: format!("{stem}.so.{major}"), tried })
    }

    fn version(&self, major: u32) -> Result<Version, Error> {
        let function: Symbol<unsafe extern "C" fn() -> i32> =
            self.symbol("getInferLibVersion", major)?;
        // SAFETY: NvInferRuntimeBase.h declares this signature in every version.
        let number = unsafe { function() }.unsigned_abs();
        // 8 and 9 counted major * 1000 + minor * 100 + patch.
        let (unit, rest) =
            if number < 10_000 { (1000, number % 1000) } else { (10_000, number % 10_000) };
        Ok(Version { major: number / unit, minor: rest / 100, patch: rest % 100 })
    }

    fn entry(&self, symbol: &str, major: u32) -> Result<Entry, Error> {
        let function: Symbol<unsafe extern "C" fn()> = self.symbol(symbol, major)?;
        Ok(*function as Entry)
    }

    fn symbol<T>(&self, symbol: &str, major: u32) -> Result<Symbol<T>, Error> {
        // SAFETY: every caller names a function, and calls it by NVIDIA's signature or not at all.
        let found = unsafe { self.library.get(symbol.as_bytes()) };
        let library = || self.name.clone();
        found.map_err(|_| Error::Symbol { library: library(), symbol: symbol.into(), major })
    }
}

fn open_library(name: &OsStr, flags: c_int) -> Result<Library, libloading::Error> {
    // SAFETY: NVIDIA's libraries may be loaded at any time; the user chose the folder.
    unsafe { Library::open(Some(name), flags) }
}

/// Whether the loader finds builder resources of `folder`, or there are none to find. TensorRT opens
/// them by bare name, and libnvinfer has no search path of its own.
pub(crate) fn builder_resources_found(folder: &Path) -> bool {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = files.map(|file| file.file_name()).filter(|name| {
        name.to_str().is_some_and(|name| name.starts_with("libnvinfer_builder_resource"))
    });
    let names: Vec<_> = names.collect();
    names.is_empty() || names.iter().any(|name| open_library(name, RTLD_LAZY).is_ok())
}

/// Restarts this process with `$TENSORRT_LIB_DIR` on `LD_LIBRARY_PATH` where it is missing there;
/// returns if there is nothing to do. TensorRT's builder needs it, and the loader reads that
/// variable at the start of a process only: call it first in `main` of a program that builds.
pub fn restart_with_library_path() -> io::Result<()> {
    match folder().and_then(|folder| library_path(&folder, env::var_os(LOADER_PATH))) {
        Some(path) => {
            let mut restarted = Command::new(env::current_exe()?);
            Err(restarted.args(env::args_os().skip(1)).env(LOADER_PATH, path).exec())
        }
        None => Ok(()),
    }
}

/// The loader's path with `folder` in front; `None` if it is there.
fn library_path(folder: &Path, current: Option<OsString>) -> Option<OsString> {
    let current = current.unwrap_or_default();
    let mut folders = vec![folder.to_path_buf()];
    folders.extend(env::split_paths(&current).filter(|path| !path.as_os_str().is_empty()));
    if folders[1..].iter().any(|path| path == folder) {
        return None;
    }
    env::join_paths(folders).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_is_named() {
        let Err(Error::Library { library, tried }) = open(10, Some(Path::new("/no/such/folder")))
        else {
            panic!("opened libraries in a missing folder");
        };
        assert_eq!(library, "libnvinfer.so.10");
        assert!(tried[0].contains("/no/such/folder/libnvinfer.so.10"), "{tried:?}");
        let message = Error::Library { library, tried }.to_string();
        assert!(message.contains("set TENSORRT_LIB_DIR"), "{message}");
    }

    #[test]
    fn a_folder_joins_the_loader_s_path_once() {
        let folder = Path::new("/opt/trt");
        assert_eq!(library_path(folder, None), Some("/opt/trt".into()));
        assert_eq!(library_path(folder, Some("".into())), Some("/opt/trt".into()));
        assert_eq!(library_path(folder, Some("/a:/b".into())), Some("/opt/trt:/a:/b".into()));
        assert_eq!(library_path(folder, Some("/a:/opt/trt".into())), None);
    }

    #[test]
    fn resources_that_the_loader_cannot_find_are_noticed() {
        let folder = env::temp_dir().join(format!("bernini-loader-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        assert!(builder_resources_found(&folder));
        fs::write(folder.join("libnvinfer_builder_resource.so.0.0.0"), b"").expect("a file");
        assert!(!builder_resources_found(&folder));
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    #[ignore = "needs TENSORRT_LIB_DIR with TensorRT 10"]
    fn the_real_libraries_say_their_version() {
        let libraries = open(10, folder().as_deref()).expect("TensorRT 10");
        assert_eq!(libraries.version.to_string(), "10.6.0");
        let Err(Error::WrongMajor { found, expected: 11, .. }) = open(11, folder().as_deref())
        else {
            panic!("TensorRT 10 was taken for 11");
        };
        assert_eq!(found, "10.6.0");
    }
    #[test]
    #[ignore = "needs TENSORRT_LIB_DIR with the builder resources"]
    fn the_real_builder_resources_need_the_loader_s_path() {
        let folder = folder().expect("TENSORRT_LIB_DIR");
        let on_path = library_path(&folder, env::var_os(LOADER_PATH)).is_none();
        assert_eq!(builder_resources_found(&folder), on_path);
    }
}
