//! A tiny checkpoint and its export, made once, and a way to call the command.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use tempfile::TempDir;

pub struct Tiny {
    folder: TempDir,
}

pub static TINY: LazyLock<Tiny> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    let tiny = Tiny { folder };
    let (checkpoint, export) = (tiny.path("checkpoint"), tiny.path("export"));
    succeed(&["synth", "--preset", "tiny", "--layout", "renderer", "-o", text(&checkpoint)]);
    succeed(&["export", text(&checkpoint), "-o", text(&export)]);
    tiny
});

impl Tiny {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn command(arguments: &[&str]) -> Command {
    // Tests that travel to a machine with a GPU bring their binary with them.
    let binary = std::env::var_os("BERNINI_BINARY");
    let mut command = Command::new(binary.unwrap_or(env!("CARGO_BIN_EXE_bernini").into()));
    command.args(arguments);
    command
}

pub fn call(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

pub fn succeed(arguments: &[&str]) -> String {
    let output = call(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// `bernini run` on the tiny export with small sizes, plus `arguments`, which win.
pub fn run(arguments: &[&str]) -> Output {
    let export = TINY.path("export");
    let small = "--num_frames 5 --height 32 --width 48 --num_inference_steps 3 --max_image_size 64";
    let mut all = vec!["run", text(&export), "--guidance_mode", "t2v", "--task_type", "t2v"];
    all.extend(small.split(' '));
    all.extend(arguments);
    call(&all)
}
