//! Flags of `bernini verify`: those of `run`, where `-o` is the report.

use std::path::PathBuf;

use bernini_builder::Workload;
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};

use super::RunArgs;

/// Flags of `run` that nothing is done with here.
const REFUSED: [&str; 6] =
    ["inputs", "print_config", "use_pe", "pe_model", "pe_required", "report"];

/// What to compare, and how.
#[derive(Debug, Args)]
pub struct VerifyFlags {
    /// What is judged: exports for the CPU or engine folders, with the same submodules or some. A runs
    /// once for all of them, and the report has a line for each
    #[arg(value_name = "B", index = 2, num_args = 1.., required = true)]
    pub others: Vec<PathBuf>,
    /// Another valid folder of A's precision, such as bf16 engines or another build: how far it is
    /// from A is shown beside every figure, and differences below it mean nothing
    #[arg(long, value_name = "DIR")]
    pub floor: Option<PathBuf>,
    /// Sizes of level a, as in `bernini build`; else the case's own, else every engine's profiles
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub workload: Vec<Workload>,
    /// What to compare: every submodule alone (a), every step on A's latents (b), the frames (c)
    /// [default: all with a case or a prompt, else a]
    #[arg(long, value_enum, value_name = "LEVEL,…", value_delimiter = ',')]
    pub level: Vec<Level>,
    /// Also write the report as a page with curves and frames
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
    /// Largest relative L2 of an output or a step, instead of each precision's own
    #[arg(long, value_name = "X", value_parser = limit)]
    pub limit: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    A,
    B,
    C,
}

fn limit(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| x.is_finite() && *x >= 0.0);
    number.ok_or_else(|| "expected a number of 0 or more, such as 0.02".into())
}

/// The flags of `run` and those of the comparison.
#[derive(Debug)]
pub struct VerifyArgs {
    pub run: RunArgs,
    pub flags: VerifyFlags,
}

impl VerifyArgs {
    /// Where to write the report.
    pub fn output(&self) -> Option<&PathBuf> {
        self.run.is_typed("output").then_some(&self.run.flags.output)
    }

    /// Whether something says what to generate.
    pub fn has_case(&self) -> bool {
        self.run.flags.case.is_some() || !self.run.flags.prompt.is_empty()
    }

    /// Whether a level is to be compared.
    pub fn wants(&self, level: Level) -> bool {
        match self.flags.level.as_slice() {
            [] => level == Level::A || self.has_case(),
            levels => levels.contains(&level),
        }
    }

    fn adapt(command: Command) -> Command {
        let command = command.mut_arg("output", |arg| {
            let arg = arg.value_name("FILE.json").hide_default_value(true);
            arg.help("Also write the report as JSON")
        });
        let command = command.mut_arg("folder", |arg| {
            // Changing an argument moves it behind the others.
            arg.value_name("A").index(1).help("The reference: an f32 export or an engine folder")
        });
        REFUSED.into_iter().fold(command, |command, flag| command.mut_arg(flag, |a| a.hide(true)))
    }
}

impl FromArgMatches for VerifyArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let run = RunArgs::from_arg_matches(matches)?;
        if let Some(flag) = REFUSED.into_iter().find(|field| run.is_typed(field)) {
            let message = format!("--{flag} does not go with `bernini verify`; leave it out\n");
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, message));
        }
        Ok(Self { run, flags: VerifyFlags::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for VerifyArgs {
    fn augment_args(command: Command) -> Command {
        Self::adapt(VerifyFlags::augment_args(RunArgs::augment_args(command)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::adapt(VerifyFlags::augment_args_for_update(RunArgs::augment_args(command)))
    }
}
