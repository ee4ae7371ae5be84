//! Flags of `bernini search`: those of `run`, where `-o` is the policy.

use std::path::PathBuf;

use bernini_builder::Workload;
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::RunArgs;

/// Flags of `run` that nothing is done with here.
const REFUSED: [&str; 7] = [
    "print_config",
    "use_pe",
    "pe_model",
    "pe_required",
    "report",
    "allow_uncalibrated",
    "vram_limit",
];

/// What to search, and within which error.
#[derive(Debug, Args)]
pub struct SearchFlags {
    /// The checkpoint that EXPORT was made from
    #[arg(value_name = "CKPT", index = 2)]
    pub checkpoint: PathBuf,
    /// FP8 scales: a table from `bernini calibrate`; what it lacks stays bf16
    #[arg(long, value_name = "TABLE")]
    pub calibration: PathBuf,
    /// Largest relative L2 of the guided velocity of a step
    #[arg(long, value_name = "X", default_value_t = 0.06, value_parser = budget)]
    pub budget: f64,
    /// Most groups of layers to measure: neighbouring blocks are switched together until there are no
    /// more. Each takes a run of the cases
    #[arg(long, value_name = "N", default_value_t = 32)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub groups: u16,
    /// Requests whose work counts, as in `bernini build`; without it the cases'. Attention's share
    /// grows with tokens, so small cases say little about large requests
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub workload: Vec<Workload>,
    /// Also draw the frontier: error against the share of FLOPs in FP8
    #[arg(long, value_name = "FILE.svg")]
    pub svg: Option<PathBuf>,
}

fn budget(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0);
    number.ok_or_else(|| "expected a number above 0, such as 0.06".into())
}

/// The flags of `run` and those of the search.
#[derive(Debug)]
pub struct SearchArgs {
    pub run: RunArgs,
    pub flags: SearchFlags,
}

impl SearchArgs {
    fn adapt(command: Command) -> Command {
        let command = command.mut_arg("output", |arg| {
            let arg = arg.value_name("POLICY.json").default_value(None).required(true);
            arg.help("Where to write the policy, for `bernini export --policy`")
        });
        let command = command.mut_arg("folder", |arg| {
            // Changing an argument moves it behind the others.
            arg.value_name("EXPORT").index(1).help("The reference: an export in f32")
        });
        REFUSED.into_iter().fold(command, |command, flag| command.mut_arg(flag, |a| a.hide(true)))
    }
}

impl FromArgMatches for SearchArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let run = RunArgs::from_arg_matches(matches)?;
        if let Some(flag) = REFUSED.into_iter().find(|field| run.is_typed(field)) {
            let message = format!("--{flag} does not go with `bernini search`; leave it out\n");
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, message));
        }
        Ok(Self { run, flags: SearchFlags::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for SearchArgs {
    fn augment_args(command: Command) -> Command {
        Self::adapt(SearchFlags::augment_args(RunArgs::augment_args(command)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::adapt(SearchFlags::augment_args_for_update(RunArgs::augment_args(command)))
    }
}
