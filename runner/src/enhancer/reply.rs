//! From the body of a chat completion to the rewritten prompt (spec H.4).

use serde_json::Value;

/// Keys of a JSON answer that may hold the rewritten prompt, the likeliest first.
const KEYS: [&str; 3] = ["rewritten_text", "prompt", "text"];

/// The rewritten prompt in the body of a chat completion, or what is wrong with the body.
///
/// Of an answer that is a JSON object, in a code fence or not, the first non-empty text under
/// `rewritten_text`, `prompt` or `text`; any other answer is the prompt itself. An answer that
/// begins like an object and is none, or has no such key, is refused: it would be a bad prompt.
pub(super) fn rewritten_prompt(body: &[u8]) -> Result<String, &'static str> {
    let body: Value = serde_json::from_slice(body).map_err(|_| "the reply is not JSON")?;
    let content = body.pointer("/choices/0/message/content").and_then(content_text);
    let content = content.ok_or("the reply has no choices[0].message.content")?;
    let answer = strip_fence(content.trim()).trim();
    let prompt = match answer.starts_with('{') {
        true => from_object(answer)?,
        false => answer.to_owned(),
    };
    if prompt.is_empty() { Err("the model answered with nothing") } else { Ok(prompt) }
}

/// The message of an error body in the style of OpenAI, or the start of any other body.
pub(super) fn error_message(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|json| {
        let paths = ["/error/message", "/error", "/message", "/detail"];
        paths.iter().find_map(|path| json.pointer(path)?.as_str())
    });
    message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}

/// A text, or the texts of a list of parts, which some servers send.
fn content_text(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            Some(parts.iter().filter_map(|part| part["text"].as_str()).collect())
        }
        _ => None,
    }
}

/// What stands between code fences, if the answer begins with one; the end may be missing.
fn strip_fence(answer: &str) -> &str {
    let Some(fenced) = answer.strip_prefix("```") else { return answer };
    let fenced = fenced.strip_prefix("json").unwrap_or(fenced);
    let inner = match fenced.split_once('\n') {
        Some((language, inner)) if !language.trim_end().contains(char::is_whitespace) => inner,
        _ => fenced,
    };
    inner.split_once("```").map_or(inner, |(inner, _)| inner)
}

fn from_object(answer: &str) -> Result<String, &'static str> {
    let object: Value = serde_json::from_str(answer).map_err(|_| "the answer is half JSON")?;
    let texts = KEYS.iter().filter_map(|key| object[key].as_str()).map(str::trim);
    let text = texts.into_iter().find(|text| !text.is_empty());
    Ok(text.ok_or("the answer is JSON without rewritten_text")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(content: Value) -> Result<String, &'static str> {
        rewritten_prompt(
            json!({ "choices": [{ "message": { "content": content } }] }).to_string().as_bytes(),
        )
    }

    #[test]
    fn text_and_json_with_and_without_fences() {
        for content in [
            " a cat\n",
            "```\na cat\n```",
            "```text\na cat\n```\nHope it helps!",
            "```text\r\na cat\r\n```",
            "```a cat```",
            "```json {\"rewritten_text\": \"a cat\"}```",
            "```a cat\n",
            r#"{"rewritten_text": " a cat "}"#,
            r#"{"text": "no", "prompt": "no", "rewritten_text": "a cat"}"#,
            r#"{"text": "no", "prompt": "a cat"}"#,
            r#"{"rewritten_text": "", "prompt": null, "text": "a cat"}"#,
            "```json\n{\"rewritten_text\": \"a cat\"}\n```",
        ] {
            assert_eq!(answer(content.into()).as_deref(), Ok("a cat"), "{content}");
        }
        let parts = json!([{ "type": "text", "text": "a " }, { "type": "x" }, { "text": "cat" }]);
        assert_eq!(answer(parts).as_deref(), Ok("a cat"));
    }

    #[test]
    fn prose_around_code_is_kept() {
        let prose = "a sign that reads ```hi```";
        assert_eq!(answer(prose.into()).as_deref(), Ok(prose));
        assert_eq!(answer("[1, 2]".into()).as_deref(), Ok("[1, 2]"));
    }

    #[test]
    fn answers_that_are_no_prompt_are_refused() {
        for (content, expected) in [
            (json!(""), "nothing"),
            (json!(" \n"), "nothing"),
            (json!("```json\n```"), "nothing"),
            (json!([]), "nothing"),
            (json!("{\"rewritten_text\": \"a c"), "half JSON"),
            (json!("{\"answer\": \"a cat\"}"), "without rewritten_text"),
            (json!("{\"rewritten_text\": 7}"), "without rewritten_text"),
            (json!("{\"rewritten_text\": \" \"}"), "without rewritten_text"),
            (json!(null), "no choices"),
            (json!({}), "no choices"),
        ] {
            let error = answer(content.clone()).unwrap_err();
            assert!(error.contains(expected), "{content}: {error}");
        }
        let deep = "[".repeat(100_000);
        for body in ["", "null", "[]", r#"{"choices": []}"#, "<html>", r#"{"cho"#, &deep] {
            assert!(rewritten_prompt(body.as_bytes()).is_err(), "{body}");
        }
        assert!(answer(format!("{{\"rewritten_text\": {deep}").into()).is_err());
        assert!(rewritten_prompt(&[0xff, 0xfe, 0]).is_err());
    }

    #[test]
    fn error_bodies_give_their_message() {
        for body in [
            r#"{"error": {"message": "no such model", "code": 3}}"#,
            r#"{"error": "no such model"}"#,
            r#"{"detail": "no such model"}"#,
            "no such model",
        ] {
            assert_eq!(error_message(body.as_bytes()), "no such model");
        }
    }
}
