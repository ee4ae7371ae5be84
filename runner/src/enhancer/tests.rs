//! The enhancer against a server on this machine that misbehaves in every way.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use image::RgbImage;
use serde_json::{Value, json};

use super::*;

const KEY: &str = "sk-test-0123456789abcdef";
/// Where the timeout is what a test is about, and where it should not be reached.
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(5);
/// What a call with the short one may take on a busy machine: less than the long one.
const PATIENCE: Duration = Duration::from_secs(3);

/// Requests that reached a server, headers and body.
type Requests = Arc<Mutex<Vec<String>>>;

/// Reads every request whole, then lets `answer(attempt, stream)` do what it likes.
fn serve(answer: impl Fn(usize, &mut TcpStream) + Send + 'static) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/", listener.local_addr().unwrap());
    let requests = Requests::default();
    let seen = requests.clone();
    thread::spawn(move || {
        for (attempt, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let request = read_request(&mut stream);
            seen.lock().unwrap().push(request);
            answer(attempt, &mut stream);
            // Closed with the reply unread, a socket would be reset: wait for the client.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.set_read_timeout(Some(SHORT));
            let _ = stream.read(&mut [0; 64]);
        }
    });
    (url, requests)
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = vec![];
    let mut block = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase();
            let length = length.split("content-length: ").nth(1).unwrap();
            if body.len() >= length.lines().next().unwrap().parse().unwrap() {
                return text.into_owned();
            }
        }
        let count = stream.read(&mut block).unwrap();
        assert_ne!(count, 0, "the client closes early");
        bytes.extend(&block[..count]);
    }
}

fn reply(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n");
    format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}").into_bytes()
}

fn completion(content: &str) -> Vec<u8> {
    let body = json!({ "choices": [{ "message": { "role": "assistant", "content": content } }] });
    reply("200 OK", "application/json", &body.to_string())
}

/// A server that always answers with `bytes`; clients may leave in the middle.
fn serve_bytes(bytes: Vec<u8>) -> (String, Requests) {
    serve(move |_, stream| drop(stream.write_all(&bytes)))
}

fn config(url: &str, timeout: Duration) -> EnhancerConfig {
    let values = [
        ("BERNINI_PE_API_KEY", KEY),
        ("BERNINI_PE_BASE_URL", url),
        ("BERNINI_PE_MODEL", "tiny-vl"),
    ];
    let mut config = EnhancerConfig::from_lookup(None, |wanted| {
        values.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).into())
    })
    .unwrap();
    let retry_pause = Duration::from_millis(10);
    config.timeouts = Timeouts { connect: timeout, whole: timeout, retry_pause };
    config
}

fn ask(url: &str) -> Result<String, EnhancerError> {
    ask_within(url, LONG)
}

fn ask_within(url: &str, timeout: Duration) -> Result<String, EnhancerError> {
    let result = enhance(&config(url, timeout), "t2v", "a cat", &Pictures::default());
    if let Err(error) = &result {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(KEY) && !shown.contains("0123456789"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
    result
}

fn ask_for_error(bytes: Vec<u8>) -> EnhancerError {
    let (url, requests) = serve_bytes(bytes);
    let error = ask(&url).unwrap_err();
    let retried = matches!(error, EnhancerError::Status { status: 500.., .. });
    assert_eq!(requests.lock().unwrap().len(), if retried { 2 } else { 1 }, "{error}");
    error
}

fn problem(error: EnhancerError) -> &'static str {
    match error {
        EnhancerError::Reply { problem, .. } => problem,
        error => panic!("{error}"),
    }
}

#[test]
fn a_good_answer_becomes_the_prompt() {
    let (url, requests) = serve_bytes(completion("```json\n{\"rewritten_text\": \"A 猫.\"}\n```"));
    let pictures = vec![RgbImage::new(3, 2)];
    let pictures = Pictures::new(vec![], pictures).unwrap();
    assert_eq!(enhance(&config(&url, LONG), "r2v", "a cat", &pictures).unwrap(), "A 猫.");
    let requests = requests.lock().unwrap();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("uthorization: Bearer {KEY}\r\n")), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["model"], requests.len()), (&json!("tiny-vl"), 1));
    assert_eq!(body["messages"][1]["content"].as_array().unwrap().len(), 3);
}

#[test]
fn the_content_type_does_not_matter_but_the_content_does() {
    let body = r#"{"choices": [{"message": {"content": "a dog"}}]}"#;
    let (url, _) = serve_bytes(reply("200 OK", "text/html", body));
    assert_eq!(ask(&url).unwrap(), "a dog");
    let html = reply("200 OK", "text/html", "<html>Please log in</html>");
    assert_eq!(problem(ask_for_error(html)), "the reply is not JSON");
}

#[test]
fn silence_and_dripping_end_at_the_timeout() {
    let (silent, requests) = serve(|_, _| thread::sleep(2 * SHORT));
    let start = Instant::now();
    let error = ask_within(&silent, SHORT).unwrap_err();
    assert!(matches!(error, EnhancerError::Timeout { seconds: 0.3, .. }), "{error}");
    assert_eq!(requests.lock().unwrap().len(), 1);
    let (dripping, _) = serve(|_, stream| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
        for byte in head.iter().chain(&[b' '; 30]) {
            thread::sleep(Duration::from_millis(10));
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
    let error = ask_within(&dripping, SHORT).unwrap_err();
    assert!(matches!(error, EnhancerError::Timeout { .. }), "{error}");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

/// Several MB that do not fit into the socket's buffers.
#[test]
fn a_server_that_does_not_read_ends_at_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut state = 1u32;
    let noise = RgbImage::from_fn(1024, 1024, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb([(state >> 24) as u8, (state >> 16) as u8, (state >> 8) as u8])
    });
    let config = config(&url, 3 * SHORT);
    let pictures = Pictures::new(vec![], vec![noise; 4]).unwrap();
    let client = client::Client::new(&config);
    let body = message::body("m", "r2v", "p", &pictures).unwrap();
    assert!(body.len() > 8 << 20);
    let error = client.complete(&body).unwrap_err();
    assert!(matches!(error, EnhancerError::Timeout { .. }), "{error}");
}

#[test]
fn a_server_error_is_tried_once_more() {
    let message = r#"{"error": {"message": "over\u001b[31mloaded"}}"#;
    let error = ask_for_error(reply("500 Internal Server Error", "application/json", message));
    assert!(error.to_string().contains("500: over[31mloaded"), "{error}");
    let (url, requests) = serve(|attempt, stream| {
        let failure = reply("503 Service Unavailable", "text/plain", "");
        let bytes = if attempt == 0 { failure } else { completion("a dog") };
        stream.write_all(&bytes).unwrap();
    });
    assert_eq!(ask(&url).unwrap(), "a dog");
    assert_eq!(requests.lock().unwrap().len(), 2);
}

#[test]
fn other_refusals_are_not_tried_again() {
    let body = r#"{"error": "no model tiny-vl"}"#;
    let error = ask_for_error(reply("404 Not Found", "application/json", body));
    assert!(error.to_string().contains("404: no model tiny-vl"), "{error}");
    let long = "x".repeat(100_000);
    let error = ask_for_error(reply("429 Too Many Requests", "text/plain", &long));
    assert!(error.to_string().len() < 400);
}

#[test]
fn a_server_that_quotes_the_key_is_not_quoted() {
    let quote = json!({ "error": { "message": format!("Incorrect API key provided: {KEY}") } });
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let error = ask_for_error(reply(status, "application/json", &quote.to_string()));
        assert!(error.to_string().contains("BERNINI_PE_API_KEY"), "{error}");
    }
    for status in ["400 Bad Request", "500 Internal Server Error"] {
        let error = ask_for_error(reply(status, "application/json", &quote.to_string()));
        assert!(error.to_string().contains("withheld"), "{error}");
    }
    let error = ask_for_error(reply("400 Bad Request", "text/plain", "key ...456789abcdef"));
    assert!(error.to_string().contains("withheld"), "{error}");
    let answer = completion(&format!("a sign that reads {KEY}"));
    assert_eq!(problem(ask_for_error(answer)), "the answer quotes the API key");
    let line = format!("HTTP/9.9 {KEY}\r\nX: {KEY}\r\n\r\n").into_bytes();
    assert!(matches!(ask_for_error(line), EnhancerError::Connection { .. }));
}

#[test]
fn replies_without_bound_are_cut_off() {
    let large = completion(&"x".repeat(10 << 20));
    assert_eq!(problem(ask_for_error(large)), "the reply is larger than 1 MiB");
    let endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    let endless = [endless, vec![b' '; 10 << 20]].concat();
    assert_eq!(problem(ask_for_error(endless)), "the reply is larger than 1 MiB");
    let head = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat();
    assert!(matches!(ask_for_error(head), EnhancerError::Connection { .. }));
}

#[test]
fn broken_replies_are_errors() {
    let half = r#"{"choices": [{"message": {"content": "a do"#;
    for (body, expected) in [
        ("", "the reply is not JSON"),
        (half, "the reply is not JSON"),
        ("\u{0}\u{1b}garbage\r\n\r\n", "the reply is not JSON"),
        ("{}", "the reply has no choices[0].message.content"),
    ] {
        let error = ask_for_error(reply("200 OK", "application/json", body));
        assert_eq!(problem(error), expected);
    }
    let empty = completion("");
    assert_eq!(problem(ask_for_error(empty)), "the model answered with nothing");
    let gzip =
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\0";
    assert_eq!(problem(ask_for_error(gzip.to_vec())), "the reply is not JSON");
}

#[test]
fn broken_connections_are_errors() {
    let mut short = completion("a dog");
    short.truncate(short.len() - 3);
    for bytes in [vec![], b"HTTP/1.1 200".to_vec(), b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(), short] {
        let error = ask_for_error(bytes);
        assert!(matches!(error, EnhancerError::Connection { .. }), "{error}");
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    assert!(ask(&url).unwrap_err().to_string().contains(&url));
    assert!(ask("http://nobody.invalid/v1").is_err());
}

#[test]
fn plain_http_where_tls_is_expected_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/v1", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 3];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(&completion("a dog")).unwrap();
        hello
    });
    let error = ask(&url).unwrap_err();
    assert!(matches!(error, EnhancerError::Connection { .. }), "{error}");
    // A TLS handshake record, and so no key on the wire.
    assert_eq!(server.join().unwrap()[..2], [0x16, 3]);
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let target = elsewhere.local_addr().unwrap();
        let head = format!("HTTP/1.1 {status}\r\nLocation: http://{target}/{KEY}\r\n");
        let error = ask_for_error(format!("{head}Content-Length: 0\r\n\r\n").into_bytes());
        assert!(error.to_string().contains("redirects"), "{error}");
    }
    assert_eq!(elsewhere.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn prompts_are_checked_on_both_sides() {
    let (url, requests) = serve_bytes(completion("a \u{0} dog"));
    let error = ask(&url).unwrap_err();
    assert!(error.to_string().contains("rewritten prompt"), "{error}");
    let none = Pictures::default();
    for (task, prompt) in [("t2v", " "), ("t2v", "\u{0}"), ("x2y", "a cat")] {
        assert!(enhance(&config(&url, LONG), task, prompt, &none).is_err());
    }
    assert_eq!(requests.lock().unwrap().len(), 1);
}

#[test]
fn a_failure_keeps_the_typed_prompt_unless_required() {
    let failure = || ask_for_error(reply("200 OK", "text/plain", "garbage"));
    let kept = Enhanced::or_typed(Err(failure()), "typed", false).unwrap();
    assert_eq!(kept.prompt, "typed");
    assert!(kept.warning.unwrap().to_string().contains("not JSON"));
    assert!(Enhanced::or_typed(Err(failure()), "typed", true).is_err());
    for required in [false, true] {
        let enhanced = Enhanced::or_typed(Ok("new".into()), "typed", required).unwrap();
        assert_eq!((enhanced.prompt.as_str(), enhanced.warning.is_none()), ("new", true));
    }
}
