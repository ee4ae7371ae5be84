//! Where the enhancer's server is, and as whom we speak to it.

use std::fmt;
use std::time::Duration;

use ureq::http::Uri;

use super::error::EnhancerError;

/// The model, from `--pe_model` or here.
const MODEL: &str = "BERNINI_PE_MODEL";
/// The variables of each setting in order of preference; the official names (spec H.4).
const API_KEY: [&str; 2] = ["BERNINI_PE_API_KEY", "OPENAI_API_KEY"];
const BASE_URL: [&str; 2] = ["BERNINI_PE_BASE_URL", "OPENAI_BASE_URL"];
/// Longest setting, in bytes; keys and URLs are far shorter.
const MAX_BYTES: usize = 4096;

/// An OpenAI-compatible server, a model that sees pictures, and how long we wait.
#[derive(Clone, Debug)]
pub struct EnhancerConfig {
    /// `http(s)://host[:port][/path]` without a slash at the end; holds no secret.
    pub(super) base_url: String,
    pub(super) api_key: ApiKey,
    pub(super) model: String,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For everything, a second attempt included.
    pub whole: Duration,
    /// Before a second attempt.
    pub retry_pause: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let [connect, whole, retry_pause] = [10, 120, 1].map(Duration::from_secs);
        Self { connect, whole, retry_pause }
    }
}

impl EnhancerConfig {
    /// Reads the official environment variables (H.4); `pe_model`, the flag, goes before its
    /// variable. The base URL has no default: prompts, pictures and the key go only where told.
    ///
    /// # Errors
    /// [`EnhancerError::Missing`] and [`EnhancerError::Setting`], which name the variable.
    pub fn from_env(pe_model: Option<&str>) -> Result<Self, EnhancerError> {
        Self::from_lookup(pe_model, |name| std::env::var(name).ok())
    }

    pub(super) fn from_lookup(
        pe_model: Option<&str>,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, EnhancerError> {
        let find = |names: &[&'static str]| names.iter().find_map(|name| filled(name, &lookup));
        let missing = |setting, source_names| EnhancerError::Missing { setting, source_names };
        let (key_name, api_key) = find(&API_KEY).ok_or(missing(
            "API key",
            "BERNINI_PE_API_KEY or OPENAI_API_KEY (any word for a server without keys)",
        ))?;
        let (url_name, base_url) = find(&BASE_URL).ok_or(missing(
            "base URL",
            "BERNINI_PE_BASE_URL or OPENAI_BASE_URL, for example to https://api.openai.com/v1",
        ))?;
        let flag = pe_model.map(|model| ("--pe_model", model.trim().to_owned()));
        let (model_name, model) = flag.or_else(|| find(&[MODEL])).ok_or(missing(
            "model",
            "--pe_model or BERNINI_PE_MODEL to a model that sees pictures",
        ))?;
        Ok(Self {
            base_url: check_base_url(url_name, &base_url)?,
            api_key: ApiKey::new(key_name, api_key)?,
            model: check_model(model_name, model)?,
            timeouts: Timeouts::default(),
        })
    }
}

/// The variable and its value, where that is more than white space.
fn filled(
    name: &'static str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Option<(&'static str, String)> {
    let value = lookup(name)?.trim().to_owned();
    (!value.is_empty()).then_some((name, value))
}

/// Error messages print the URL, so nothing secret may hide in it.
fn check_base_url(source_name: &'static str, url: &str) -> Result<String, EnhancerError> {
    let error = |problem| EnhancerError::Setting { source_name, problem };
    let uri: Option<Uri> = url.parse().ok().filter(|_| url.len() <= MAX_BYTES);
    let uri = uri.ok_or(error("is no URL; expected one like https://host/v1"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(error("is no web address; expected one like https://host/v1"));
    }
    if url.contains(['@', '?', '#']) {
        return Err(error("holds a user name, a query or a fragment; pass secrets as the API key"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn check_model(source_name: &'static str, model: String) -> Result<String, EnhancerError> {
    let problem = "is no model name; expected one short line such as gpt-4o";
    match model.is_empty() || model.len() > MAX_BYTES || model.contains(char::is_control) {
        true => Err(EnhancerError::Setting { source_name, problem }),
        false => Ok(model),
    }
}

/// A secret: no error, debug output or log may show it.
#[derive(Clone)]
pub(super) struct ApiKey(String);

impl ApiKey {
    /// Pieces of this many bytes are long enough to be worth hiding.
    const PIECE: usize = 8;

    fn new(source_name: &'static str, key: String) -> Result<Self, EnhancerError> {
        let problem = "is no API key; expected printable ASCII without spaces";
        match key.len() <= MAX_BYTES && key.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Self(key)),
            false => Err(EnhancerError::Setting { source_name, problem }),
        }
    }

    /// Value of the `Authorization` header.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether any piece of the key stands in `text`; servers like to quote a part of it.
    pub fn shows_in(&self, text: &str) -> bool {
        let piece = self.0.len().min(Self::PIECE);
        self.0.as_bytes().windows(piece).any(|piece| contains(text.as_bytes(), piece))
    }

    /// Whether the whole key stands in `text`. Words such as `none`, which servers without keys
    /// are given, do not count.
    pub fn stands_in(&self, text: &str) -> bool {
        self.0.len() >= Self::PIECE && text.contains(&self.0)
    }
}

fn contains(text: &[u8], piece: &[u8]) -> bool {
    text.windows(piece.len()).any(|window| window == piece)
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-proj-0123456789/abcdef";
    const URL: &str = "https://example.org/v1/";

    fn config(
        variables: &[(&str, &str)],
        pe_model: Option<&str>,
    ) -> Result<EnhancerConfig, EnhancerError> {
        EnhancerConfig::from_lookup(pe_model, |wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn own_variables_and_the_flag_go_first_and_blank_ones_do_not_count() {
        let openai = [("OPENAI_API_KEY", "b"), ("OPENAI_BASE_URL", "http://b")];
        let own = [("BERNINI_PE_API_KEY", " a\n"), ("BERNINI_PE_BASE_URL", URL), (MODEL, "m")];
        let both = config(&[openai.as_slice(), &own].concat(), None).unwrap();
        assert_eq!((both.api_key.0.as_str(), both.model.as_str()), ("a", "m"));
        assert_eq!(both.base_url, "https://example.org/v1");
        let blank = [openai.as_slice(), &[("BERNINI_PE_API_KEY", " "), (MODEL, "m")]].concat();
        let flag = config(&blank, Some("flag")).unwrap();
        assert_eq!((flag.api_key.0.as_str(), flag.base_url.as_str()), ("b", "http://b"));
        assert_eq!(flag.model, "flag");
    }

    #[test]
    fn what_is_missing_is_named() {
        let all = [("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", URL), (MODEL, "m")];
        let names = ["BERNINI_PE_API_KEY", "BERNINI_PE_BASE_URL", "BERNINI_PE_MODEL"];
        for (left_out, name) in names.into_iter().enumerate() {
            let mut some = all.to_vec();
            some.remove(left_out);
            let error = config(&some, None).unwrap_err();
            assert!(matches!(error, EnhancerError::Missing { .. }));
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn bad_settings_are_named_without_their_value() {
        let key = ("BERNINI_PE_API_KEY", KEY);
        let secret_url = format!("https://user:{KEY}@example.org/v1");
        let query_url = format!("https://example.org/v1?key={KEY}");
        for url in [
            "example.org/v1",
            "ftp://example.org",
            "https://",
            "/v1",
            "http://a b",
            &secret_url,
            &query_url,
        ] {
            let error = config(&[key, ("OPENAI_BASE_URL", url)], Some("m")).unwrap_err();
            assert!(error.to_string().contains("OPENAI_BASE_URL"), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains(KEY));
        }
        for bad in ["two words", "line\nbreak", "schlüssel"] {
            let error = config(&[("OPENAI_API_KEY", bad), ("OPENAI_BASE_URL", URL)], Some("m"));
            let error = error.unwrap_err();
            assert!(error.to_string().contains("OPENAI_API_KEY"), "{error}");
            assert!(!format!("{error} {error:?}").contains(bad));
        }
        let error = config(&[key, ("OPENAI_BASE_URL", URL)], Some(" ")).unwrap_err();
        assert!(error.to_string().contains("--pe_model"), "{error}");
    }

    #[test]
    fn debug_output_hides_the_key() {
        let variables = [("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", URL)];
        let config = config(&variables, Some("m")).unwrap();
        let shown = format!("{config:?} {config:#?}");
        assert!(shown.contains("example.org") && !config.api_key.shows_in(&shown), "{shown}");
    }

    #[test]
    fn pieces_of_a_key_are_recognised() {
        let key = ApiKey::new("K", KEY.into()).unwrap();
        assert!(key.shows_in("key sk-proj-*** is wrong") && key.shows_in("..89/abcdef"));
        assert!(!key.shows_in("key sk-*** is wrong") && !key.shows_in(""));
        assert!(key.stands_in(&format!("<{KEY}>")) && !key.stands_in("sk-proj-"));
        let word = ApiKey::new("K", "none".into()).unwrap();
        assert!(word.shows_in("none") && !word.stands_in("none of them"));
    }
}
