//! The library of our TensorRT plugins: where it is, which one it is, loading it.

use std::{
    env, fs,
    path::{self, Path, PathBuf},
};

use crate::{Error, Runtime, TensorRt, result::c_name};

/// Names the library.
const VARIABLE: &str = "BERNINI_PLUGIN";
/// Its name beside the program.
const FILE: &str = "libbernini_plugin.so";

/// The library of the operators of domain `bernini`, as found; loaded by [`TensorRt::load_plugin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginLibrary {
    /// Absolute path.
    pub path: PathBuf,
    /// Hash of the file, in hex: engines run with the plugin that they were built with only.
    pub blake3: String,
}

impl PluginLibrary {
    /// The library that `$BERNINI_PLUGIN` names, else the one beside this program, if any.
    /// [`Error::Plugin`] where it cannot be read.
    pub fn find() -> Result<Option<Self>, Error> {
        let named = env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let beside = || env::current_exe().ok().map(|program| program.with_file_name(FILE));
        let path = named.or_else(|| beside().filter(|path| path.is_file()));
        path.map(|path| Self::open(&path)).transpose()
    }

    /// The library at `path`; [`Error::Plugin`] where it cannot be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error: std::io::Error| failed(path, error.to_string());
        let bytes = fs::read(path).map_err(failed)?;
        let path = path::absolute(path).map_err(failed)?;
        Ok(Self { path, blake3: blake3::hash(&bytes).to_hex().to_string() })
    }
}

impl TensorRt {
    /// Makes the plugins of a library known to TensorRT, for building and loading engines; once per
    /// path, until the process ends. [`Error::Plugin`] carries what TensorRT logs.
    pub fn load_plugin(&self, path: &Path) -> Result<(), Error> {
        let mut loaded = self.plugins();
        if loaded.iter().any(|known| known == path) {
            return Ok(());
        }
        let text = path.to_str().ok_or_else(|| failed(path, "its path is not UTF-8".into()))?;
        let name = c_name(text)?;
        // TensorRT has no logger before the first runtime or builder, and complains on stderr.
        let _runtime = Runtime::new(self)?;
        let call = self.call("load a plugin library", |shim, error| {
            let entry = self.entries().registry;
            // SAFETY: the entry point is TensorRT's; the path is read during the call. The library
            // is code of ours, which the user chose.
            unsafe { (shim.plugin_load)(entry, name.as_ptr(), error) }.then_some(())
        });
        call.map_err(|error| match error {
            Error::TensorRt { message, log, .. } => {
                let reason = format!("TensorRT does not load it: {message}");
                Error::Plugin { path: path.into(), reason, log }
            }
            other => other,
        })?;
        loaded.push(path.into());
        Ok(())
    }
}

fn failed(path: &Path, reason: String) -> Error {
    Error::Plugin { path: path.into(), reason, log: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn a_library_is_known_by_its_bytes() {
        let path = env::temp_dir().join(format!("bernini-plugin-{}.so", std::process::id()));
        fs::write(&path, b"plugin").expect("a file");
        let library = PluginLibrary::open(&path).expect("readable");
        fs::remove_file(&path).expect("removed");
        assert_eq!(library.blake3, blake3::hash(b"plugin").to_hex().to_string());
        let message = PluginLibrary::open(&path).expect_err("gone").to_string();
        assert!(message.contains(&path.display().to_string()), "{message}");
        assert!(message.contains("set BERNINI_PLUGIN"), "{message}");
    }

    #[test]
    fn a_library_is_loaded_once() {
        let tensorrt = fake::tensorrt();
        fake::events();
        for path in ["/a/first.so", "/a/first.so", "/a/second.so"] {
            tensorrt.load_plugin(Path::new(path)).expect("loaded");
        }
        let loads = fake::events().into_iter().filter(|event| event.starts_with("plugin"));
        assert_eq!(loads.collect::<Vec<_>>(), ["plugin /a/first.so", "plugin /a/second.so"]);
        drop(tensorrt);
        fake::assert_all_gone();
    }

    #[test]
    fn what_tensorrt_says_of_a_library_travels_and_it_can_be_tried_again() {
        let tensorrt = fake::tensorrt();
        fake::refuse("plugin_load", "", "undefined symbol: cudnnCreate");
        let error = tensorrt.load_plugin(Path::new("/a/b.so")).expect_err("refused");
        let Error::Plugin { path, log, .. } = &error else { panic!("{error}") };
        assert_eq!((path.as_path(), log.len()), (Path::new("/a/b.so"), 1));
        assert!(error.to_string().contains("undefined symbol: cudnnCreate"), "{error}");
        fake::allow();
        tensorrt.load_plugin(Path::new("/a/b.so")).expect("loaded");
    }
}
