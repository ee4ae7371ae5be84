//! Flags of `bernini calibrate`: those of `run`, where `-o` is the table.

use bernini_calibration::DEFAULT_PERCENTILE;
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};

use super::RunArgs;

/// Flags of `run` that nothing is done with here.
const REFUSED: [&str; 6] =
    ["print_config", "use_pe", "pe_model", "pe_required", "report", "allow_uncalibrated"];

/// What becomes of the measurements.
#[derive(Debug, Args)]
pub struct CalibrateFlags {
    /// Which magnitude of an activation becomes the largest FP8 value
    #[arg(long, value_enum, value_name = "METHOD", default_value = "amax")]
    method: MethodName,
    /// Percent of an activation's values that do not saturate, 99.99 if not given; goes with
    /// --method percentile
    #[arg(long, value_name = "P", value_parser = percentile)]
    percentile: Option<f64>,
    /// Also re-balance query and key pairs and value channels, for weights whose channels differ by
    /// more than some six octaves; their scales are from the largest magnitudes
    #[arg(long)]
    pub balance: bool,
    /// Also have FP8 self attention subtract the keys' mean over tokens, where it leaves no more than
    /// two thirds of the rounding noise in the scores
    #[arg(long)]
    pub center_keys: bool,
}

/// The names of [`Method`](bernini_calibration::Method).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MethodName {
    /// The largest: nothing saturates
    Amax,
    /// The one that a share of the values does not exceed; needs an export with --taps statistics
    Percentile,
    /// The one of least mean squared error, of those that saturate nothing; needs it, too
    Mse,
}

fn percentile(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|p: &f64| *p > 0.0 && *p <= 100.0);
    number.ok_or_else(|| "expected a number above 0 and up to 100, such as 99.99".into())
}

impl CalibrateFlags {
    /// How scales are chosen.
    pub fn method(&self) -> bernini_calibration::Method {
        use bernini_calibration::Method;
        match self.method {
            MethodName::Amax => Method::Amax,
            MethodName::Percentile => {
                Method::Percentile(self.percentile.unwrap_or(DEFAULT_PERCENTILE))
            }
            MethodName::Mse => Method::Mse,
        }
    }
}

/// The requests to measure, and what to make of it.
#[derive(Debug)]
pub struct CalibrateArgs {
    /// What `run` takes, too.
    pub run: RunArgs,
    pub flags: CalibrateFlags,
}

impl CalibrateArgs {
    fn checked(run: RunArgs, flags: CalibrateFlags) -> Result<Self, clap::Error> {
        let refused = |message: String| clap::Error::raw(ErrorKind::ArgumentConflict, message);
        if let Some(flag) = REFUSED.into_iter().find(|field| run.is_typed(field)) {
            let message = format!("--{flag} goes with `bernini run` only; leave it out\n");
            return Err(refused(message));
        }
        if flags.percentile.is_some() && flags.method != MethodName::Percentile {
            let message = "--percentile goes with --method percentile only; leave it out\n";
            return Err(refused(message.into()));
        }
        Ok(Self { run, flags })
    }

    fn adapt(command: Command) -> Command {
        let command = command.mut_arg("output", |arg| {
            let arg = arg.value_name("TABLE").default_value(None).required(true);
            arg.help("Where to write the table")
        });
        let command = command.mut_arg("folder", |arg| {
            arg.help("An export with --taps amax or statistics, or its engines")
        });
        REFUSED.into_iter().fold(command, |command, flag| command.mut_arg(flag, |a| a.hide(true)))
    }
}

impl FromArgMatches for CalibrateArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = CalibrateFlags::from_arg_matches(matches)?;
        Self::checked(RunArgs::from_arg_matches(matches)?, flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for CalibrateArgs {
    fn augment_args(command: Command) -> Command {
        Self::adapt(CalibrateFlags::augment_args(RunArgs::augment_args(command)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::adapt(CalibrateFlags::augment_args_for_update(RunArgs::augment_args_for_update(
            command,
        )))
    }
}
