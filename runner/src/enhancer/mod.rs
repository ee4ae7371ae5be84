//! Rewrites a prompt by asking a chat model that sees the sources (spec H.4).
//!
//! [`EnhancerConfig::from_env`] says whom to ask, [`Pictures::read`] gathers what it is shown,
//! [`enhance`] asks. [`enhance_or_keep`] does all three and falls back to the prompt as typed.
//! The wording of the requests is data: `data/enhancer.json`.

mod client;
mod config;
mod error;
mod message;
mod pictures;
mod reply;
mod templates;
#[cfg(test)]
mod tests;

pub use config::{EnhancerConfig, Timeouts};
pub use error::EnhancerError;
pub use pictures::{Pictures, SourceFiles};

use crate::text;

/// Asks for a rewriting of `prompt`, a prompt of `task_type`.
///
/// The result has passed [`text::check_prompt`]. Blocks for at most `config.timeouts.whole`.
///
/// # Errors
/// All variants of [`EnhancerError`] but `Missing` and `Setting`.
pub fn enhance(
    config: &EnhancerConfig,
    task_type: &str,
    prompt: &str,
    pictures: &Pictures,
) -> Result<String, EnhancerError> {
    text::check_prompt("prompt", prompt)?;
    let body = message::body(&config.model, task_type, prompt, pictures)?;
    let rewritten = client::Client::new(config).complete(&body)?;
    text::check_prompt("rewritten prompt", &rewritten)?;
    Ok(rewritten)
}

/// A prompt to go on with.
#[derive(Debug)]
pub struct Enhanced {
    /// The rewritten prompt, or the one that was typed.
    pub prompt: String,
    /// Why it is the one that was typed.
    pub warning: Option<EnhancerError>,
}

impl Enhanced {
    /// The fallback rule: after a failure `typed` stands, with the failure as a warning.
    ///
    /// # Errors
    /// The failure itself, if `required`.
    pub fn or_typed(
        result: Result<String, EnhancerError>,
        typed: &str,
        required: bool,
    ) -> Result<Self, EnhancerError> {
        match result {
            Ok(prompt) => Ok(Self { prompt, warning: None }),
            Err(error) if required => Err(error),
            Err(error) => Ok(Self { prompt: typed.into(), warning: Some(error) }),
        }
    }
}

/// Settings from the environment, pictures from the sources, the rewriting, the fallback rule:
/// everything behind `--use_pe`, `--pe_model` and `--pe-required`.
///
/// # Errors
/// Only if `required`: whatever went wrong.
pub fn enhance_or_keep(
    pe_model: Option<&str>,
    required: bool,
    task_type: &str,
    prompt: &str,
    sources: &SourceFiles<'_>,
) -> Result<Enhanced, EnhancerError> {
    let result = EnhancerConfig::from_env(pe_model).and_then(|config| {
        let pictures = Pictures::read(task_type, sources)?;
        enhance(&config, task_type, prompt, &pictures)
    });
    Enhanced::or_typed(result, prompt, required)
}
