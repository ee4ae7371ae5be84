//! One file per verb.

mod bench;
mod build;
mod calibrate;
mod doctor;
mod export;
mod inspect;
mod run;
mod search;
mod synth;
mod verify;

pub use bench::bench;
pub use build::build;
pub use calibrate::calibrate;
pub use doctor::doctor;
pub use export::export;
pub use inspect::inspect;
pub use run::run;
pub use search::search;
pub use synth::synth;
pub use verify::verify;
