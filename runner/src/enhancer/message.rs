//! The body of a chat completion request (spec H.4).

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};

use super::error::EnhancerError;
use super::pictures::Pictures;
use super::templates;

/// System text, then the instruction and the pictures with their labels, as JSON.
///
/// # Errors
/// [`EnhancerError::Task`], [`EnhancerError::Picture`].
pub(super) fn body(
    model: &str,
    task_type: &str,
    prompt: &str,
    pictures: &Pictures,
) -> Result<String, EnhancerError> {
    let task = || EnhancerError::Task { found: task_type.into() };
    let template = templates::template(task_type).ok_or_else(task)?;
    let mut content = vec![text(&template.fill(prompt, &pictures.describe()))];
    for (number, picture) in (1..).zip(pictures.iter()) {
        let url = data_url(picture);
        let url = url.map_err(|source| EnhancerError::Picture { number, source })?;
        content.push(text(&format!("[Image {number}]:")));
        content.push(json!({ "type": "image_url", "image_url": { "url": url } }));
    }
    let system = json!({ "role": "system", "content": templates::system() });
    let user = json!({ "role": "user", "content": content });
    Ok(json!({ "model": model, "messages": [system, user] }).to_string())
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn data_url(picture: &RgbImage) -> Result<String, image::ImageError> {
    let mut png = Cursor::new(vec![]);
    picture.write_to(&mut png, ImageFormat::Png)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png.into_inner())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(level: u8) -> RgbImage {
        RgbImage::from_pixel(5, 3, image::Rgb([level; 3]))
    }

    fn decode(part: &Value) -> RgbImage {
        let url = part["image_url"]["url"].as_str().unwrap();
        let png = STANDARD.decode(url.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        image::load_from_memory_with_format(&png, ImageFormat::Png).unwrap().into_rgb8()
    }

    #[test]
    fn labels_and_pictures_alternate_after_the_instruction() {
        let pictures = Pictures::new(vec![vec![flat(1), flat(2)]], vec![flat(3)]).unwrap();
        let body = body("model", "rv2v", "say \"hi\"", &pictures).unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["model"], "model");
        assert_eq!(body["messages"][0]["role"], "system");
        assert_eq!(body["messages"][0]["content"], templates::system());
        assert_eq!(body["messages"][1]["role"], "user");
        let content = body["messages"][1]["content"].as_array().unwrap();
        let instruction = content[0]["text"].as_str().unwrap();
        assert!(instruction.contains("say \"hi\"") && instruction.contains("[Image 3]: picture"));
        assert_eq!(content.len(), 7);
        for (index, parts) in content[1..].chunks_exact(2).enumerate() {
            assert_eq!(parts[0], text(&format!("[Image {}]:", index + 1)));
            assert_eq!(parts[1]["type"], "image_url");
            assert_eq!(decode(&parts[1]), flat(index as u8 + 1));
        }
    }

    #[test]
    fn unknown_tasks_and_empty_pictures_are_errors() {
        let none = Pictures::default();
        assert!(matches!(body("m", "x2y", "p", &none), Err(EnhancerError::Task { .. })));
        let empty = Pictures::new(vec![], vec![flat(1), RgbImage::new(0, 7)]).unwrap();
        let error = body("m", "r2v", "p", &empty).unwrap_err();
        assert!(matches!(error, EnhancerError::Picture { number: 2, .. }), "{error}");
    }
}
