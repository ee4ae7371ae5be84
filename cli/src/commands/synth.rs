//! `bernini synth`: a random checkpoint.

use bernini_exporter::synth::{self, Preset};
use bernini_graphs::manifest::Variant;

use crate::Outcome;
use crate::args::{self, SynthArgs};

pub fn synth(args: &SynthArgs) -> anyhow::Result<Outcome> {
    let preset = match args.preset {
        args::Preset::Tiny => Preset::Tiny,
        args::Preset::Slim => Preset::Slim,
    };
    let layout = match args.layout {
        args::Layout::Full => Variant::Full,
        args::Layout::Renderer => Variant::Renderer,
    };
    let bytes = synth::write(preset, layout, args.seed, &args.output)?;
    println!("{}: {:.1} MB of random weights", args.output.display(), bytes as f64 / 1e6);
    Ok(Outcome::Done)
}
