//! Flags of `bernini calibrate`: those of `run`, where `-o` is the table.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::RunArgs;

/// Flags of `run` that nothing is done with here.
const REFUSED: [&str; 6] =
    ["print_config", "use_pe", "pe_model", "pe_required", "report", "allow_uncalibrated"];

/// Names of the flags that only `calibrate` has.
const BALANCE: &str = "balance";
const CENTER_KEYS: &str = "center-keys";

/// The requests to measure.
#[derive(Debug)]
pub struct CalibrateArgs {
    /// What `run` takes, too.
    pub run: RunArgs,
    /// Whether attentions are re-balanced.
    pub balance: bool,
    /// Whether keys of self attention are centred where it pays.
    pub center_keys: bool,
}

impl CalibrateArgs {
    fn checked(run: RunArgs, balance: bool, center_keys: bool) -> Result<Self, clap::Error> {
        let Some(flag) = REFUSED.into_iter().find(|field| run.is_typed(field)) else {
            return Ok(Self { run, balance, center_keys });
        };
        let message = format!("--{flag} goes with `bernini run` only; leave it out\n");
        Err(clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, message))
    }

    fn adapt(command: Command) -> Command {
        let command = command.mut_arg("output", |arg| {
            let arg = arg.value_name("TABLE").default_value(None).required(true);
            arg.help("Where to write the table")
        });
        let command =
            command.mut_arg("folder", |arg| arg.help("An export with --taps amax, or its engines"));
        let balance = Arg::new(BALANCE).long(BALANCE).action(ArgAction::SetTrue).help(
            "Also re-balance query and key pairs and value channels, for weights whose channels \
             differ by more than some six octaves",
        );
        let center_keys = Arg::new(CENTER_KEYS).long(CENTER_KEYS).action(ArgAction::SetTrue).help(
            "Also have FP8 self attention subtract the keys' mean over tokens, where it leaves no \
             more than two thirds of the rounding noise in the scores",
        );
        let command = command.arg(balance).arg(center_keys);
        REFUSED.into_iter().fold(command, |command, flag| command.mut_arg(flag, |a| a.hide(true)))
    }
}

impl FromArgMatches for CalibrateArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let [balance, center_keys] = [BALANCE, CENTER_KEYS].map(|flag| matches.get_flag(flag));
        Self::checked(RunArgs::from_arg_matches(matches)?, balance, center_keys)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for CalibrateArgs {
    fn augment_args(command: Command) -> Command {
        Self::adapt(RunArgs::augment_args(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::adapt(RunArgs::augment_args_for_update(command))
    }
}
