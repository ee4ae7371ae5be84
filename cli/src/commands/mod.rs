//! One file per verb.

mod build;
mod doctor;
mod export;
mod inspect;
mod run;
mod synth;

pub use build::build;
pub use doctor::doctor;
pub use export::export;
pub use inspect::inspect;
pub use run::run;
pub use synth::synth;
