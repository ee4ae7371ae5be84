//! The `bernini` command: checkpoints to ONNX graphs, and prompts to video.

#[macro_use]
mod streams;

mod args;
mod commands;
mod files;
mod progress;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;

use args::{Cli, Command};

/// How a verb ended, when it did not fail.
enum Outcome {
    /// Everything asked for was done.
    Done,
    /// A check ran and found something wrong.
    CheckFailed,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    // A second Ctrl-C ends the process at once; temporary files have temporary names anyway.
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    let outcome = ctrlc::set_handler(handler)
        .map_err(anyhow::Error::from)
        .and_then(|()| dispatch(&cli.command, &interrupted))
        .and_then(|outcome| Ok(streams::finish().map(|()| outcome)?));
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::CheckFailed) => ExitCode::from(1),
        Err(_) if interrupted.load(Ordering::Relaxed) => {
            eprintln!("bernini: interrupted; nothing was left under a final name");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("bernini: {}", chain(&error));
            ExitCode::from(2)
        }
    }
}

fn dispatch(command: &Command, interrupted: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    match command {
        Command::Synth(args) => commands::synth(args),
        Command::Inspect(args) => commands::inspect(args),
        Command::Export(args) => commands::export(args, interrupted),
        Command::Build(args) => commands::build(args, interrupted),
        Command::Calibrate(args) => commands::calibrate(args, interrupted),
        Command::Search(args) => commands::search(args, interrupted),
        Command::Run(args) => commands::run(args, interrupted),
        Command::Verify(args) => commands::verify(args, interrupted),
        Command::Bench(args) => commands::bench(args, interrupted),
        Command::Doctor(args) => commands::doctor(args),
    }
}

/// The error and its causes, without those that an outer message quotes already.
fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |message, cause| {
        match message.as_str() {
            "" => cause,
            _ if message.contains(&cause) => message,
            _ => format!("{message}: {cause}"),
        }
    })
}
