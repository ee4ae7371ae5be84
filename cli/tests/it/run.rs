//! `bernini run` on the tiny export: outputs, reports, interruption.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use image::{GenericImageView, Rgb, RgbImage};

use crate::common::{TINY, call, command, run, text};

fn expect_success(arguments: &[&str]) -> String {
    let result = run(arguments);
    let error = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success(), "{arguments:?}: {error}");
    String::from_utf8(result.stdout).unwrap()
}

#[test]
fn one_frame_is_a_png_of_the_size_asked_for() {
    let output = TINY.path("made/on/demand/one.png");
    expect_success(&["--prompt", "a", "--num_frames", "1", "--output", text(&output)]);
    let picture = image::open(output).unwrap();
    assert_eq!(picture.dimensions(), (48, 32));
    let colours: std::collections::HashSet<_> = picture.pixels().map(|(_, _, p)| p.0).collect();
    assert!(colours.len() > 100, "a picture, not a constant: {} colours", colours.len());
}

#[test]
fn a_seed_gives_the_same_frames_again_and_another_gives_others() {
    let frames = |name: &str, seed: &str| {
        let output = TINY.path(name);
        expect_success(&[
            "--prompt",
            "a",
            "--seed",
            seed,
            "--output",
            &format!("{}/", text(&output)),
        ]);
        let mut files: Vec<_> = fs::read_dir(&output).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 5);
        files.iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>()
    };
    let (a, b, c) = (frames("seed_a", "7"), frames("seed_b", "7"), frames("seed_c", "8"));
    assert_eq!(a, b);
    assert_ne!(a, c);
}

#[test]
fn report_holds_every_stage() {
    let (output, report) = (TINY.path("reported.mp4"), TINY.path("report.json"));
    let json = ["--json", "--report", text(&report)];
    let stdout =
        expect_success(&[&["--prompt", "a", "--output", text(&output)], &json[..]].concat());
    let printed: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let written: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    assert_eq!(printed, written);
    let stages: Vec<_> =
        printed["stages"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    for stage in
        ["load", "text", "context", "dit high", "dit low", "guidance", "vae decode", "write"]
    {
        assert!(stages.contains(&stage), "no {stage} in {stages:?}");
    }
    assert_eq!((printed["frames"].as_u64(), printed["forwards"].as_u64()), (Some(5), Some(6)));
    assert!(printed["peak_memory_bytes"].as_u64() > Some(1 << 20));
    let experts = printed["experts"].as_array().unwrap();
    let steps = experts.iter().map(|expert| expert["steps"].as_u64().unwrap());
    assert_eq!(steps.sum::<u64>(), 3);
    assert!(experts.iter().all(|expert| expert["seconds_per_step"].as_f64() > Some(0.0)));
    assert!(printed.get("gpu_idle_share").is_none(), "there is no GPU here");
}

#[test]
fn a_picture_of_one_pixel_is_legal() {
    let source = TINY.path("pixel.png");
    RgbImage::from_pixel(1, 1, Rgb([200, 30, 60])).save(&source).unwrap();
    let output = TINY.path("pixel_out.png");
    let mode = ["--task_type", "i2i", "--guidance_mode", "v2v", "--image", text(&source)];
    expect_success(
        &[&["--prompt", "a", "--num_frames", "1", "--output", text(&output)], &mode[..]].concat(),
    );
    assert_eq!(image::open(output).unwrap().dimensions(), (16, 16));
}

#[test]
fn every_guidance_mode_runs() {
    let source = TINY.path("source.png");
    RgbImage::from_fn(50, 38, |x, y| Rgb([x as u8 * 5, y as u8 * 6, 90])).save(&source).unwrap();
    for mode in ["rv2v", "v2v", "v2v_chain", "t2v", "r2v_apg", "v2v_apg", "t2v_apg"] {
        let output = TINY.path(&format!("mode_{mode}.mp4"));
        let flags = ["--guidance_mode", mode, "--task_type", "r2v", "--images", text(&source)];
        expect_success(&[&["--prompt", "a", "--output", text(&output)], &flags[..]].concat());
        assert!(output.is_file());
    }
}

#[test]
fn euler_and_unipc_differ() {
    let frame = |name: &str, flag: &str| {
        let output = TINY.path(name);
        expect_success(&["--prompt", "a", "--num_frames", "1", flag, "--output", text(&output)]);
        image::open(output).unwrap().into_bytes()
    };
    assert_ne!(frame("euler.png", "--no-use_unipc"), frame("unipc.png", "--use_unipc"));
}

#[test]
fn interrupted_run_leaves_nothing_and_exits_with_130() {
    let export = TINY.path("export");
    let folder = TINY.path("interrupted");
    let output = folder.join("out.mp4");
    let flags = "--prompt a --height 96 --width 96 --num_frames 33 --num_inference_steps 900";
    let mut arguments = vec!["run", text(&export), "--guidance_mode", "t2v", "--progress", "json"];
    arguments.extend(flags.split(' '));
    arguments.extend(["--output", text(&output)]);
    let mut child = command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    sleep(Duration::from_millis(1500));
    assert!(child.try_wait().unwrap().is_none(), "it should still be running");
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!folder.exists() || fs::read_dir(&folder).unwrap().count() == 0);
}

#[test]
fn doctor_says_what_it_found() {
    let result = call(&["doctor"]);
    let text = String::from_utf8(result.stdout).unwrap();
    assert_eq!(result.status.code(), Some(0), "{text}");
    for name in [
        "ONNX Runtime",
        "FFmpeg",
        "NVIDIA driver",
        "GPU memory",
        "TensorRT",
        "TensorRT shim",
        "plugin",
        "cuDNN",
    ] {
        assert!(text.contains(name), "{text}");
    }
}

/// A chat server that answers one request with `status` and `body`, at the address returned.
fn chat_server(status: &'static str, body: &'static str) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut seen = vec![];
            let mut part = [0; 4096];
            // The body's end: a JSON object that closes after the headers.
            while !(seen.windows(4).any(|w| w == b"\r\n\r\n") && seen.ends_with(b"}")) {
                let n = stream.read(&mut part).unwrap();
                if n == 0 {
                    break;
                }
                seen.extend(&part[..n]);
            }
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n");
            let length = format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(format!("{head}{length}{body}").as_bytes()).unwrap();
        }
    });
    format!("http://{address}")
}

fn enhanced(server: &str, name: &str, more: &[&str]) -> std::process::Output {
    let (export, output) = (TINY.path("export"), TINY.path(name));
    let flags = "--prompt a --guidance_mode t2v --task_type t2v --num_frames 1 --height 16 \
                 --width 16 --num_inference_steps 1 --use_pe --pe_model m";
    let mut arguments = vec!["run", text(&export), "--output", text(&output)];
    arguments.extend(flags.split_whitespace());
    arguments.extend(more);
    command(&arguments)
        .env("BERNINI_PE_BASE_URL", server)
        .env("BERNINI_PE_API_KEY", "sk-very-secret-key")
        .output()
        .unwrap()
}

#[test]
fn enhanced_prompt_is_shown_and_a_failure_keeps_the_typed_one() {
    let good = r#"{"choices": [{"message": {"role": "assistant", "content": "A red fox."}}]}"#;
    let result = enhanced(&chat_server("200 OK", good), "enhanced.png", &[]);
    let message = String::from_utf8_lossy(&result.stderr).into_owned();
    assert!(result.status.success(), "{message}");
    assert!(message.contains("enhanced prompt: A red fox."), "{message}");

    let refused = chat_server("401 Unauthorized", r#"{"error": "bad key sk-very-secret-key"}"#);
    let result = enhanced(&refused, "kept.png", &[]);
    let message = String::from_utf8_lossy(&result.stderr).into_owned();
    assert!(result.status.success(), "{message}");
    assert!(message.contains("the prompt stays as typed") && !message.contains("secret"));
    assert!(TINY.path("kept.png").is_file());

    let result = enhanced(&refused, "required.png", &["--pe-required"]);
    let message = String::from_utf8_lossy(&result.stderr).into_owned();
    assert_eq!(result.status.code(), Some(2), "{message}");
    assert!(!message.contains("secret") && !TINY.path("required.png").exists());
}
