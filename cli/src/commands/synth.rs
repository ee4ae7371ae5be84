//! `bernini synth`: a random checkpoint.

use bernini_exporter::synth::{self, Preset, Weights};
use bernini_graphs::manifest::Variant;

use crate::Outcome;
use crate::args::{self, SynthArgs};

pub fn synth(args: &SynthArgs) -> anyhow::Result<Outcome> {
    let preset = match args.preset {
        args::Preset::Tiny => Preset::Tiny,
        args::Preset::Slim => Preset::Slim,
        args::Preset::Deep => Preset::Deep,
        args::Preset::Full => Preset::Full,
    };
    let layout = match args.layout {
        args::Layout::Full => Variant::Full,
        args::Layout::Renderer => Variant::Renderer,
    };
    let out = args.output.display();
    if args.header_only {
        let bytes = synth::write_names(preset, layout, &args.output)?;
        println!("{out}: headers of {:.1} MB of weights, which are holes", bytes as f64 / 1e6);
    } else {
        let weights = Weights { seed: args.seed, peaky: args.peaky };
        let bytes = match args.only.as_slice() {
            [] => synth::write(preset, layout, weights, &args.output)?,
            only => synth::write_components(preset, layout, only, weights, &args.output)?,
        };
        println!("{out}: {:.1} MB of random weights", bytes as f64 / 1e6);
    }
    Ok(Outcome::Done)
}
