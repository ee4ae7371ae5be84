//! Every lie that a checkpoint can tell has its own error, and leaves nothing behind.

use std::fs;
use std::path::Path;

use bernini_exporter::{Checkpoint, CheckpointError, InspectReport, inspect};
use bernini_graphs::manifest::{PrecisionName, Variant};

use crate::common::{Fixture, edit_header};

const VAE: &str = "vae/diffusion_pytorch_model.safetensors";

/// The variant of the error that is expected, and what provokes it.
type HeaderCase<'a> = (&'static str, &'a dyn Fn(String) -> String);
type FileCase<'a> = (&'static str, &'a dyn Fn(&mut Vec<u8>));
type PathCase<'a> = (&'static str, &'a dyn Fn(&Path));
type CheckpointCase<'a> = (&'static str, &'a dyn Fn(&Fixture));

/// The spoilt checkpoint must be refused by opening, inspection and export alike.
fn assert_refused(fixture: &Fixture, expected: &str) {
    let error = Checkpoint::open(&fixture.checkpoint()).unwrap_err();
    let shown = format!("{error:?}");
    assert!(shown.contains(expected), "expected {expected}, found {shown}");
    assert!(inspect(&fixture.checkpoint(), false).is_err());
    assert!(fixture.export(PrecisionName::F32).is_err());
    assert!(fixture.left_behind().is_empty(), "{:?}", fixture.left_behind());
}

fn first_tensor(header: &str) -> String {
    let start = header.find("\"decoder.conv_in.bias\"").unwrap();
    let end = start + header[start..].find('}').unwrap() + 1;
    header[start..end].into()
}

#[test]
fn lies_in_headers() {
    let cases: [HeaderCase<'_>; 11] = [
        ("DuplicateName", &|h| {
            let first = first_tensor(&h);
            h.replacen('{', &format!("{{{first},"), 1)
        }),
        ("UnknownDType", &|h| h.replacen("\"F32\"", "\"F33\"", 1)),
        ("ShapeOverflow", &|h| h.replacen("[32]", "[4294967296,4294967296,4294967296]", 1)),
        ("SizeMismatch", &|h| h.replacen("[32]", "[33]", 1)),
        ("ReversedOffsets", &|h| {
            let first = first_tensor(&h);
            h.replacen(&first, &first.replacen("[0,128]", "[128,0]", 1), 1)
        }),
        ("Overlap", &|h| {
            let first = first_tensor(&h);
            let moved = first.replacen("conv_in", "conv_on", 1);
            h.replacen(&first, &format!("{first},{moved}"), 1)
        }),
        ("Gap", &|h| {
            let first = first_tensor(&h);
            h.replacen(&format!("{first},"), "", 1)
        }),
        ("Json", &|h| h.replacen("\"shape\":[32]", "\"shape\":[-32]", 1)),
        ("Json", &|h| h.replacen("\"shape\":[32]", &format!("\"shape\":{}", "[".repeat(9999)), 1)),
        ("Json", &|h| h.replacen("\"dtype\"", "\"dtipe\"", 1)),
        ("Json", &|h| h[..h.len() / 2].into()),
    ];
    for (expected, edit) in cases {
        let fixture = Fixture::new(Variant::Renderer);
        edit_header(&fixture.path(VAE), |header| {
            let edited = edit(header.clone());
            assert_ne!(edited, header, "{expected}");
            edited
        });
        assert_refused(&fixture, expected);
    }
}

#[test]
fn files_that_are_not_as_long_as_they_say() {
    let length = |bytes: &mut Vec<u8>, n: u64| bytes[..8].copy_from_slice(&n.to_le_bytes());
    let cases: [FileCase<'_>; 8] = [
        ("Truncated", &|b| b.truncate(b.len() - 10)),
        ("TrailingData", &|b| b.extend([0; 10])),
        ("TooShort", &|b| b.truncate(7)),
        ("Length", &|b| b.truncate(8)),
        ("Length", &|b| length(b, u64::MAX)),
        ("Length", &|b| length(b, 1 << 40)),
        ("Length", &|b| length(b, 0)),
        ("Length", &|b| b.truncate(100)),
    ];
    for (expected, edit) in cases {
        let fixture = Fixture::new(Variant::Renderer);
        let mut bytes = fs::read(fixture.path(VAE)).unwrap();
        edit(&mut bytes);
        fs::write(fixture.path(VAE), bytes).unwrap();
        assert_refused(&fixture, expected);
    }
}

#[test]
fn lies_in_indices() {
    let index = "transformer/diffusion_pytorch_model.safetensors.index.json";
    let shard = "diffusion_pytorch_model-00002-of-00003.safetensors";
    let cases: [CheckpointCase<'_>; 7] = [
        ("ShardPath", &|f| f.replace(index, shard, "../vae/diffusion_pytorch_model.safetensors")),
        ("ShardPath", &|f| f.replace(index, shard, "/etc/passwd")),
        ("ShardPath", &|f| f.replace(index, shard, "..")),
        ("MissingShard", &|f| fs::remove_file(f.path("transformer").join(shard)).unwrap()),
        ("Json", &|f| fs::write(f.path(index), "{\"weight_map\": [1]}").unwrap()),
        ("DuplicateTensor", &|f| {
            f.replace(index, shard, "copy.safetensors");
            let folder = f.path("transformer");
            fs::copy(folder.join(shard), folder.join("copy.safetensors")).unwrap();
        }),
        ("MissingWeights", &|f| fs::remove_file(f.path(VAE)).unwrap()),
    ];
    for (expected, spoil) in cases {
        let fixture = Fixture::new(Variant::Renderer);
        spoil(&fixture);
        assert_refused(&fixture, expected);
    }
}

#[test]
fn nonsense_in_configs_names_file_and_key() {
    let dit = "transformer_2/config.json";
    let cases = [
        (dit, "\"num_layers\": 2", "\"num_layers\": 0", "num_layers"),
        (dit, "\"num_layers\": 2", "\"num_layers\": -2", "-2"),
        (dit, "\"num_layers\": 2", "\"num_layers\": 999999999999", "num_layers"),
        (dit, "\"num_layers\": 2", "\"num_layers\": \"two\"", "two"),
        (dit, "\"num_layers\": 2", "\"num_lairs\": 2", "num_layers"),
        (dit, "\"attention_head_dim\": 20", "\"attention_head_dim\": 21", "attention_head_dim"),
        (dit, "\"text_dim\": 28", "\"text_dim\": 29", "text_dim"),
        (dit, "\"in_channels\": 16", "\"in_channels\": 0", "in_channels"),
        (dit, "\"image_dim\": null", "\"image_dim\": 1280", "image_dim"),
        (dit, "\"qk_norm\": \"", "\"qk_norm\": \"x", "qk_norm"),
        ("text_encoder/config.json", "\"vocab_size\": 467", "\"vocab_size\": 1e99", "invalid"),
        ("text_encoder/config.json", "gated-gelu", "relu", "feed_forward_proj"),
        ("vae/config.json", "\"z_dim\": 16", "\"z_dim\": 15", "latents_mean"),
        ("vae/config.json", "2.8184", "0", "latents_std"),
        ("vae/config.json", "2.8184", "1e99", "latents_std"),
        ("vae/config.json", "{", "{\"is_residual\": true,", "is_residual"),
        ("scheduler/scheduler_config.json", "1000", "0", "num_train_timesteps"),
        ("scheduler/scheduler_config.json", "3.0", "-3.0", "flow_shift"),
    ];
    for (file, from, to, expected) in cases {
        let fixture = Fixture::new(Variant::Renderer);
        fixture.replace(file, from, to);
        assert_refused(&fixture, "");
        let error = Checkpoint::open(&fixture.checkpoint()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(file), "{error}");
    }
}

#[test]
fn files_that_are_no_configs() {
    let cases: [PathCase<'_>; 6] = [
        ("Json", &|p| fs::write(p, "[".repeat(1 << 20)).unwrap()),
        ("Json", &|p| fs::write(p, [0xFF, 0xFE]).unwrap()),
        ("Json", &|p| fs::write(p, "").unwrap()),
        ("TooLarge", &|p| fs::File::create(p).unwrap().set_len(1 << 40).unwrap()),
        ("Io", &|p| fs::remove_file(p).unwrap()),
        ("NotAFile", &|p| {
            fs::remove_file(p).unwrap();
            fs::create_dir(p).unwrap();
        }),
    ];
    for file in ["vae/config.json", "scheduler/scheduler_config.json"] {
        for (expected, spoil) in &cases {
            let fixture = Fixture::new(Variant::Renderer);
            spoil(&fixture.path(file));
            assert_refused(&fixture, expected);
        }
    }
}

#[test]
fn folders_that_are_no_checkpoints() {
    let fixture = Fixture::new(Variant::Full);
    fixture.replace("config.json", "\"model_type\": \"bernini\"", "\"model_type\": \"wan\"");
    assert_refused(&fixture, "ModelType");

    let fixture = Fixture::new(Variant::Full);
    fs::remove_file(fixture.path("config.json")).unwrap();
    assert_refused(&fixture, "NotACheckpoint");

    let absent = fixture.checkpoint().join("absent");
    assert!(matches!(Checkpoint::open(&absent), Err(CheckpointError::Io { .. })));

    let fixture = Fixture::new(Variant::Renderer);
    fs::remove_file(fixture.path("tokenizer/spiece.model")).unwrap();
    assert_refused(&fixture, "spiece.model");
}

#[test]
fn unknown_keys_warn_and_known_ones_do_not() {
    let fixture = Fixture::new(Variant::Renderer);
    assert_eq!(Checkpoint::open(&fixture.checkpoint()).unwrap().warnings(), [""; 0]);
    fixture.replace("vae/config.json", "{", "{\"mystery\": [1],");
    let checkpoint = Checkpoint::open(&fixture.checkpoint()).unwrap();
    let [warning] = checkpoint.warnings() else { panic!("{:?}", checkpoint.warnings()) };
    assert!(warning.contains("mystery") && warning.contains("vae/config.json"), "{warning}");
    let report = fixture.export(PrecisionName::F32).unwrap();
    assert_eq!(report.warnings, checkpoint.warnings());
}

/// Renames one tensor (missing and extra) and reshapes another, in the shard that holds both.
fn spoil_three(fixture: &Fixture, folder: &str, prefix: &str) {
    let mut edits = 0;
    for entry in fs::read_dir(fixture.path(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "safetensors") {
            continue;
        }
        edit_header(&path, |header| {
            let gone = format!("\"{prefix}blocks.0.attn1.to_q.bias\"");
            let extra = format!("\"{prefix}blocks.0.attn1.to_z.bias\"");
            let reshaped = format!("\"{prefix}patch_embedding.bias\"");
            edits += usize::from(header.contains(&gone)) + usize::from(header.contains(&reshaped));
            let header = header.replacen(&gone, &extra, 1);
            let Some(at) = header.find(&reshaped) else { return header };
            let (before, after) = header.split_at(at);
            format!("{before}{}", after.replacen("[60]", "[30,2]", 1))
        });
    }
    assert_eq!(edits, 2);
}

#[test]
fn inspect_names_missing_extra_and_wrong_shape_at_once() {
    let layouts = [
        (Variant::Renderer, "transformer_2", ""),
        (Variant::Full, "bernini", "diff_dec_low.transformer_2."),
    ];
    for (layout, folder, prefix) in layouts {
        let fixture = Fixture::new(layout);
        spoil_three(&fixture, folder, prefix);
        let report = inspect(&fixture.checkpoint(), false).unwrap();
        assert!(!report.ok());
        let InspectReport::Checkpoint(report) = report else { panic!("not a checkpoint") };
        let found: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
        let expected = [
            format!("tensor {prefix}blocks.0.attn1.to_q.bias is missing: expected shape [60]"),
            format!("tensor {prefix}patch_embedding.bias: expected shape [60], found [30, 2]"),
            format!("tensor {prefix}blocks.0.attn1.to_z.bias [60] is extra: no graph reads it"),
        ];
        assert_eq!(found, expected.map(|line| format!("transformer_2: {line}")));
        let error = fixture.export(PrecisionName::Bf16).unwrap_err().to_string();
        assert!(found.iter().all(|line| error.contains(line)), "{error}");
        assert!(fixture.left_behind().is_empty());
        // The index still lists the old name.
        assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
    }
}

#[test]
fn tensors_of_strange_types_and_prefixes_are_findings() {
    let fixture = Fixture::new(Variant::Full);
    let shard = fixture.path("bernini/model-00001-of-00005.safetensors");
    edit_header(&shard, |header| header.replacen("\"mllm.visual.merger.ln", "\"mlm.ln", 1));
    edit_header(&fixture.path(VAE), |header| {
        let start = header.find("\"decoder.conv_in.bias\"").unwrap();
        let (before, after) = header.split_at(start);
        format!("{before}{}", after.replacen("\"F32\"", "\"I32\"", 1))
    });
    let InspectReport::Checkpoint(report) = inspect(&fixture.checkpoint(), false).unwrap() else {
        panic!("not a checkpoint")
    };
    let found: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    let expected = [
        "vision: tensor mllm.visual.merger.ln_q.weight is missing: expected shape [24]",
        "vae: tensor decoder.conv_in.bias: expected F32, F16 or BF16, found I32",
        "tensor mlm.ln_q.weight [24] has a prefix that no component has",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_stack_of_a_thousand_layers_is_answered_in_a_moment() {
    let fixture = Fixture::new(Variant::Renderer);
    fixture.replace("transformer/config.json", "\"num_layers\": 2", "\"num_layers\": 1024");
    let started = std::time::Instant::now();
    let report = inspect(&fixture.checkpoint(), false).unwrap();
    let InspectReport::Checkpoint(report) = report else { panic!("not a checkpoint") };
    assert_eq!(report.findings.len(), 1022 * 27);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

/// Flips one bit in the first 4 KiB (lengths and headers, not weights) of each of `files` in
/// turn, 600 times; returns how often inspection saw it.
fn flips_seen(fixture: &Fixture, files: &[&str]) -> usize {
    let mut refused = 0;
    for (i, file) in files.iter().cycle().take(600).enumerate() {
        let path = fixture.path(file);
        let original = fs::read(&path).unwrap();
        let mut bytes = original.clone();
        let at = i * 7919 % bytes.len().min(4096);
        bytes[at] ^= 1 << (i % 8);
        fs::write(&path, &bytes).unwrap();
        refused += usize::from(!inspect(&fixture.checkpoint(), false).is_ok_and(|r| r.ok()));
        fs::write(&path, &original).unwrap();
    }
    assert!(inspect(&fixture.checkpoint(), false).unwrap().ok());
    refused
}

#[test]
fn no_flipped_byte_makes_it_panic() {
    let renderer = [
        VAE,
        "vae/config.json",
        "transformer/config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors.index.json",
        "scheduler/scheduler_config.json",
    ];
    let refused = flips_seen(&Fixture::new(Variant::Renderer), &renderer);
    assert!(refused > 200, "{refused}");
    let package = ["config.json", "mllm/config.json", "bernini/model.safetensors.index.json"];
    let refused = flips_seen(&Fixture::new(Variant::Full), &package);
    assert!(refused > 200, "{refused}");
}
