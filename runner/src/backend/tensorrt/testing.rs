//! Engine folders made up for tests: release configs, and plans of a few bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bernini_graphs::engines::{
    ENGINES_MANIFEST, ENGINES_SCHEMA, EngineEntry, EnginesManifest, GpuEntry, ProfileEntry,
    SizeRange,
};
use bernini_graphs::manifest::{FileEntry, PortEntry, PrecisionName, Variant, WorkEntry};
use bernini_graphs::{Component, DType, Submodule};
use tempfile::TempDir;

use crate::guidance::{ApgParams, GuidanceMode, Omegas};
use crate::renderer::SourceIds;
use crate::request::{Plan, Request, SourcePlan};
use crate::scheduler::SchedulerKind;

const TRANSFORMER: &str = r#"{"patch_size": [1, 2, 2], "num_attention_heads": 40,
    "attention_head_dim": 128, "in_channels": 16, "out_channels": 16, "text_dim": 4096,
    "freq_dim": 256, "ffn_dim": 13824, "num_layers": 40, "cross_attn_norm": true,
    "qk_norm": "rms_norm_across_heads", "eps": 1e-6}"#;
const TEXT_ENCODER: &str = r#"{"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24,
    "num_heads": 64, "vocab_size": 256384, "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "gated-gelu"}"#;

/// An engine folder for t2v and v2v at 832×480×81, as renderer-only.
pub(crate) struct EngineFolder {
    pub folder: TempDir,
    pub manifest: EnginesManifest,
}

impl EngineFolder {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let vae = format!(
            r#"{{"base_dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2,
            "attn_scales": [], "temperal_downsample": [false, true, true],
            "latents_mean": {0:?}, "latents_std": {1:?}}}"#,
            [0.0; 16], [1.0; 16]
        );
        let configs = [
            (Component::TextEncoder, TEXT_ENCODER),
            (Component::Transformer, TRANSFORMER),
            (Component::Transformer2, TRANSFORMER),
            (Component::Vae, &vae),
        ];
        let config = configs
            .map(|(part, text)| file(folder.path(), &part.config_file(), text.as_bytes()))
            .into();
        let engines = Submodule::ALL.into_iter().filter(|s| !s.component().is_planner());
        let engines =
            engines.map(|submodule| (submodule.stem().into(), engine(folder.path(), submodule)));
        let manifest = EnginesManifest {
            schema: ENGINES_SCHEMA,
            bernini: "0.1.0".into(),
            source: "made up".into(),
            variant: Variant::Renderer,
            precision: PrecisionName::Bf16,
            policy: None,
            uncalibrated: false,
            balance: None,
            tensorrt: "10.6.0".into(),
            gpu: GpuEntry {
                name: "NVIDIA H200".into(),
                compute_capability: "9.0".into(),
                cuda_driver: "13.0".into(),
            },
            workloads: vec!["t2v-480p".into(), "v2v-480p".into()],
            engines: engines.collect(),
            tables: BTreeMap::new(),
            config,
        };
        let made = Self { folder, manifest };
        made.write();
        made
    }

    /// The same with another manifest.
    pub(crate) fn edited(edit: impl FnOnce(&mut EnginesManifest)) -> Self {
        let mut made = Self::new();
        edit(&mut made.manifest);
        made.write();
        made
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn plan(&self, submodule: Submodule) -> (PathBuf, FileEntry) {
        let entry = self.manifest.engines[submodule.stem()].plan.clone();
        (self.path().join(&entry.file), entry)
    }

    fn write(&self) {
        let text = serde_json::to_vec(&self.manifest).unwrap();
        fs::write(self.path().join(ENGINES_MANIFEST), text).unwrap();
    }
}

fn file(folder: &Path, name: &str, content: &[u8]) -> FileEntry {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    let blake3 = blake3::hash(content).to_hex().to_string();
    FileEntry { file: name.into(), bytes: content.len() as u64, blake3 }
}

fn engine(folder: &Path, submodule: Submodule) -> EngineEntry {
    use Submodule::{Transformer, Transformer2, VaeDecoderNext, VaeEncoderNext};
    let stem = submodule.stem();
    let size = |sizes: &[(&str, usize, usize)]| ProfileEntry {
        name: "t2v-480p".into(),
        sizes: sizes
            .iter()
            .map(|&(symbol, min, max)| (symbol.into(), SizeRange { min, opt: max, max }))
            .collect(),
    };
    let latent = [("latent_height", 60, 60), ("latent_width", 104, 104)];
    let profiles = match submodule {
        Transformer | Transformer2 => [32_760, 65_520]
            .map(|tokens| size(&[("tokens", tokens, tokens), ("context", 512, 2048)]))
            .into(),
        _ if submodule.component() == Component::TextEncoder => {
            vec![size(&[("text_tokens", 1, 512)])]
        }
        VaeEncoderNext | VaeDecoderNext => {
            vec![size(&[&latent[..], &[("latent_frames", 1, 1)]].concat())]
        }
        _ if submodule.component() == Component::Vae => vec![size(&latent)],
        _ => vec![size(&[("context", 512, 2048)])],
    };
    let port = |name: &str, dtype, shape: &[&str]| PortEntry {
        name: name.into(),
        dtype,
        shape: shape.iter().map(ToString::to_string).collect(),
    };
    EngineEntry {
        plan: file(folder, &format!("{stem}.bf16.0.plan"), stem.as_bytes()),
        key: "0".into(),
        inputs: vec![
            port("x", DType::F32, &["1", "tokens"]),
            port("keys", DType::Bf16, &["context"]),
        ],
        outputs: vec![port("y", DType::F32, &["1", "tokens"])],
        config: submodule.component().config_file(),
        profiles,
        activation_bytes: 1 << 30,
        work: WorkEntry { fp8: "0".into(), bf16: "2*tokens".into(), f32: "0".into() },
        build_seconds: 1.0,
        plugin: None,
    }
}

/// A renderer-only t2v request; both experts have steps.
pub(crate) fn request() -> Request {
    let omegas = Omegas { vid: 1.25, img: 4.5, txt: 4.0, tgt: 0.5, scale: 0.8 };
    Request {
        task_type: "t2v".into(),
        guidance_mode: GuidanceMode::V2vChain,
        prompt: "a".into(),
        neg_prompt: String::new(),
        system_prompt: String::new(),
        videos: vec![],
        image: None,
        images: vec![],
        output: "out.mp4".into(),
        num_frames: 81,
        max_image_size: 848,
        height: 480,
        width: 832,
        num_inference_steps: 40,
        scheduler: SchedulerKind::UniPc,
        flow_shift: 5.0,
        seed: 0,
        noise: None,
        fps: 16,
        omegas,
        apg: ApgParams { eta: 0.5, norm_threshold: [50.0; 3], momentum: 0.0 },
        source_ids: SourceIds { enabled: true, interpolate: true, max_trained: 5 },
        planning_step: 25,
        vit_txt_cfg: 1.2,
        vit_img_cfg: None,
        vit_denoising_step: 5,
        reference_schedule: false,
    }
}

/// 81 frames of 832×480 with `sources`, each `(width, height, frames)`.
pub(crate) fn plan(sources: &[(u32, u32, usize)]) -> Plan {
    let source = |&(width, height, frames): &(u32, u32, usize)| SourcePlan {
        path: "source".into(),
        frames: (frames > 1).then(|| (0..frames).collect()),
        vit_frames: None,
        is_video: frames > 1,
        width,
        height,
    };
    let sources = sources.iter().map(source).collect();
    Plan { sources, frames: 81, width: 832, height: 480, target: None }
}
