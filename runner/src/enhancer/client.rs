//! One POST to `/chat/completions`: bounded in time and bytes, without redirects.

use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{HeaderValue, Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::config::{ApiKey, EnhancerConfig};
use super::error::EnhancerError;
use super::reply;

/// Longest reply that is read; a rewritten prompt is a few kilobytes.
const MAX_REPLY_BYTES: u64 = 1 << 20;
/// Characters shown of a server's error message.
const MAX_MESSAGE_CHARS: usize = 200;

/// A server, and the moment at which we stop waiting for it.
pub(super) struct Client<'a> {
    config: &'a EnhancerConfig,
    url: String,
    deadline: Instant,
}

impl<'a> Client<'a> {
    /// Time runs from here.
    pub fn new(config: &'a EnhancerConfig) -> Self {
        let url = format!("{}/chat/completions", config.base_url);
        Self { config, url, deadline: Instant::now() + config.timeouts.whole }
    }

    /// The rewritten prompt. After a 5xx status or a timeout there is one second attempt, if time
    /// is left for it.
    pub fn complete(&self, body: &str) -> Result<String, EnhancerError> {
        let first = self.attempt(body);
        let pause = self.config.timeouts.retry_pause;
        match &first {
            Err(error) if error.is_transient() && self.time_left() > pause => {
                std::thread::sleep(pause);
                self.attempt(body)
            }
            _ => first,
        }
    }

    fn attempt(&self, body: &str) -> Result<String, EnhancerError> {
        let mut response = self.post(body).map_err(|error| self.failure(&error))?;
        let bytes = response.body_mut().with_config().limit(MAX_REPLY_BYTES).read_to_vec();
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response.status(), &bytes.unwrap_or_default()));
        }
        let bytes = bytes.map_err(|error| self.failure(&error))?;
        let prompt = reply::rewritten_prompt(&bytes).map_err(|problem| self.bad_reply(problem))?;
        match self.config.api_key.stands_in(&prompt) {
            true => Err(self.bad_reply("the answer quotes the API key")),
            false => Ok(prompt),
        }
    }

    fn post(&self, body: &str) -> Result<Response<Body>, ureq::Error> {
        let mut authorization = HeaderValue::from_str(&self.config.api_key.bearer())
            .expect("invariant: the key is printable ASCII");
        authorization.set_sensitive(true);
        self.agent()
            .post(&self.url)
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, "application/json")
            .send(body)
    }

    fn agent(&self) -> Agent {
        let mut settings = Config::builder()
            .http_status_as_error(false)
            // A redirect would take the key and the pictures to a place that nobody named.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(self.config.timeouts.connect))
            .timeout_global(Some(self.time_left()));
        if is_loopback(&self.url) {
            settings = settings.proxy(None);
        }
        settings.build().into()
    }

    /// Never zero, which would mean something else.
    fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    fn failure(&self, error: &ureq::Error) -> EnhancerError {
        match error {
            ureq::Error::Timeout(_) => self.timeout(),
            ureq::Error::Io(io) if is_timeout(io) => self.timeout(),
            ureq::Error::BodyExceedsLimit(_) => self.bad_reply("the reply is larger than 1 MiB"),
            error => EnhancerError::Connection {
                url: self.url.clone(),
                problem: printable(&self.config.api_key, &error.to_string()),
            },
        }
    }

    fn timeout(&self) -> EnhancerError {
        let seconds = self.config.timeouts.whole.as_secs_f64();
        EnhancerError::Timeout { url: self.url.clone(), seconds }
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> EnhancerError {
        let message = match status.as_u16() {
            300..=399 => "it redirects, which is not followed; set the final base URL".into(),
            // Such bodies tend to quote the key in one form or another.
            401 | 403 => {
                "the API key is refused; check BERNINI_PE_API_KEY or OPENAI_API_KEY".into()
            }
            _ => printable(&self.config.api_key, &reply::error_message(body)),
        };
        EnhancerError::Status { url: self.url.clone(), status: status.as_u16(), message }
    }

    fn bad_reply(&self, problem: &'static str) -> EnhancerError {
        EnhancerError::Reply { url: self.url.clone(), problem }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

/// Whether the server is on this machine, where no proxy leads.
fn is_loopback(url: &str) -> bool {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A server's words without control characters, cut, and withheld if they quote the key.
fn printable(key: &ApiKey, text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE_CHARS).collect();
    match key.shows_in(&text) {
        true => "message withheld, for it quotes the API key".into(),
        false if text.trim().is_empty() => "no message".into(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_machine_is_loopback() {
        for url in ["http://localhost:8000/v1", "http://127.0.0.9/", "https://[::1]:8/v1"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["https://127.0.0.1.example.org/", "http://10.0.0.1", "http://[::2]/"] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
