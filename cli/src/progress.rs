//! Progress on a terminal, as JSON lines, or not at all.

use std::io::IsTerminal;
use std::sync::Mutex;

use bernini_graphs::Submodule;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::args::ProgressKind;

/// Shows one stage at a time.
pub struct Progress {
    json: bool,
    stage: Mutex<Option<Stage>>,
    /// What goes before a build's phases.
    engine: Mutex<String>,
    visible: bool,
}

struct Stage {
    name: String,
    done: u64,
    total: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Bars go to standard error, so that standard output stays the report's.
    pub fn new(kind: ProgressKind) -> Self {
        let visible = kind == ProgressKind::Auto && std::io::stderr().is_terminal();
        Self {
            json: kind == ProgressKind::Json,
            stage: Mutex::new(None),
            engine: Mutex::default(),
            visible,
        }
    }

    fn begin(&self, name: &str, total: u64, template: &str) {
        self.end();
        let bar = self.visible.then(|| {
            let style = ProgressStyle::with_template(template);
            let bar = ProgressBar::new(total).with_message(name.to_string());
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        self.print(name, 0, total);
        self.set(Some(Stage { name: name.into(), done: 0, total, bar }));
    }

    fn advance(&self, amount: u64) {
        let Ok(mut stage) = self.stage.lock() else { return };
        let Some(stage) = stage.as_mut() else { return };
        stage.done += amount;
        if let Some(bar) = &stage.bar {
            bar.inc(amount);
        }
        self.print(&stage.name, stage.done, stage.total);
    }

    /// Name of the stage, and how much of it is done.
    fn current(&self) -> Option<(String, u64)> {
        let stage = self.stage.lock().ok()?;
        stage.as_ref().map(|stage| (stage.name.clone(), stage.done))
    }

    fn print(&self, stage: &str, done: u64, total: u64) {
        if self.json {
            eprintln!("{}", json!({ "stage": stage, "done": done, "total": total }));
        }
    }

    fn set(&self, stage: Option<Stage>) {
        if let Ok(mut slot) = self.stage.lock() {
            *slot = stage;
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Ok(mut slot) = self.stage.lock()
            && let Some(bar) = slot.take().and_then(|stage| stage.bar)
        {
            bar.finish();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

impl bernini_runner::pipeline::Progress for Progress {
    fn begin(&self, stage: &'static str, total: usize) {
        let template = "{msg:>12} {wide_bar} {pos}/{len} {elapsed} eta {eta}";
        Progress::begin(self, stage, total as u64, template);
    }

    fn advance(&self) {
        Progress::advance(self, 1);
    }
}

impl bernini_exporter::Progress for Progress {
    fn begin(&self, stage: &str, total: u64) {
        let template = "{msg:>24} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}";
        Progress::begin(self, stage, total, template);
    }

    fn advance(&self, bytes: u64) {
        Progress::advance(self, bytes);
    }
}

impl bernini_builder::Progress for Progress {
    fn engine(&self, submodule: Submodule, index: usize, count: usize) {
        if let Ok(mut engine) = self.engine.lock() {
            *engine = format!("{submodule} {}/{count}", index + 1);
        }
    }

    /// Phases nest and their steps interleave: the bar shows the one that was heard of last.
    fn step(&self, phase: &str, step: u32, steps: u32) {
        let engine = self.engine.lock().map(|name| name.clone()).unwrap_or_default();
        let name = format!("{engine} {phase}");
        if self.current().is_none_or(|(current, _)| current != name) {
            Progress::begin(self, &name, steps.into(), "{msg} {wide_bar} {pos}/{len} {elapsed}");
        }
        let done = self.current().map_or(0, |(_, done)| done);
        Progress::advance(self, u64::from(step).saturating_sub(done));
    }
}
