//! One attention: its inputs, what the CPU model makes of them, and its ONNX node.

use bernini_calibration::fp8_attention::{
    HEAD, Scales, attention, centered, rms_norm, rotate_halves,
};
use bernini_tensorrt::InputShapes;
use half::bf16;

use crate::gpu::Array;
use crate::onnx::{self, Axis, Value};

pub const EPS: f32 = 1e-6;
const E4M3_MAX: f32 = 448.0;
/// Smallest and largest token counts and context lengths of the engines.
const TOKENS: (usize, usize) = (64, 1300);
const CONTEXT: (usize, usize) = (512, 700);

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// Queries, keys and values of the same tokens, all rotated.
    SelfAttention,
    /// The same, with keys that have much in common, which is subtracted.
    CenteredKeys,
    /// Over normalised keys and values of a context, [1, heads, T, 128].
    Cross,
}

impl Kind {
    pub fn is_self(self) -> bool {
        self != Self::Cross
    }
}

/// Inputs in f32, as bf16 holds them. Keys and values of a context are [T, heads, 128] here.
pub struct Case {
    pub kind: Kind,
    pub heads: usize,
    pub queries: usize,
    pub keys: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    norm_q: Vec<f32>,
    norm_k: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// What the model expects.
pub struct Expected {
    /// In f32 throughout.
    pub exact: Vec<f32>,
    /// With everything rounded that the kernel rounds.
    pub rounded: Vec<f32>,
}

impl Case {
    pub fn new(kind: Kind, heads: usize, queries: usize, keys: usize) -> Self {
        let mut noise = Noise(queries as u64 * 7919 + keys as u64);
        let channels = heads * HEAD;
        let mut rows = |count: usize| noise.normal(count * channels, 1.5, 0.0);
        let (q, mut k, v) = (rows(queries), rows(keys), rows(keys));
        // Constants of the engine, hence the same for all of its sizes.
        let mut weights = Noise(heads as u64);
        let mut norm = |size| weights.normal(channels, 0.2 * size, size);
        let (norm_q, mut norm_k) = (norm(1.0), norm(1.0));
        if kind == Kind::CenteredKeys {
            // In pairs that rotate slowly, and with scores that depend on the rest of the keys.
            let slow = |(i, _): &(usize, &mut f32)| i % (HEAD / 2) >= 48;
            for (_, key) in k.iter_mut().enumerate().filter(slow) {
                *key = bf16::from_f32(*key + 8.0).to_f32();
            }
            norm_k = norm(3.0);
        }
        let angle = |i: usize| {
            let (token, pair) = (i / (HEAD / 2), i % (HEAD / 2));
            token as f64 * 1e4f64.powf(-(pair as f64) / (HEAD / 2) as f64)
        };
        let angles: Vec<_> = (0..queries * HEAD / 2).map(angle).collect();
        let of = |f: fn(f64) -> f64| angles.iter().map(|&a| f(a) as f32).collect();
        let (cos, sin) = (of(f64::cos), of(f64::sin));
        Self { kind, heads, queries, keys, q, k, v, norm_q, norm_k, cos, sin }
    }

    /// The same tokens, all of them `times` over: every query finds what it found.
    pub fn repeated(&self, times: usize) -> Self {
        let [q, k, v, cos, sin] =
            [&self.q, &self.k, &self.v, &self.cos, &self.sin].map(|x| x.repeat(times));
        let (norm_q, norm_k) = (self.norm_q.clone(), self.norm_k.clone());
        let (queries, keys) = (self.queries * times, self.keys * times);
        Self { q, k, v, norm_q, norm_k, cos, sin, queries, keys, ..*self }
    }

    /// q and k as they enter the product.
    fn normalised(&self) -> (Vec<f32>, Vec<f32>) {
        let (q, k) = (rms_norm(&self.q, &self.norm_q, EPS), &self.k);
        let rotate = |x: &[f32]| rotate_halves(x, self.heads, &self.cos, &self.sin);
        let rotated = || (rotate(&q), rotate(&rms_norm(k, &self.norm_k, EPS)));
        match self.kind {
            Kind::SelfAttention => rotated(),
            Kind::CenteredKeys => {
                let (q, k) = rotated();
                (q, centered(&k, self.heads * HEAD))
            }
            Kind::Cross => (q, k.clone()),
        }
    }

    /// Scales that use the whole range of E4M3; the output's as bf16 holds it.
    pub fn scales(&self) -> Scales {
        let scale = |x: &[f32]| x.iter().fold(0.0f32, |max, x| max.max(x.abs())) / E4M3_MAX;
        let (q, k) = self.normalised();
        let out = attention(&q, &k, &self.v, self.heads, None);
        let out = bf16::from_f32(scale(&out)).to_f32();
        Scales { q: scale(&q), k: scale(&k), v: scale(&self.v), out }
    }

    pub fn expected(&self, scales: &Scales) -> Expected {
        let (q, k) = self.normalised();
        let of = |scales| attention(&q, &k, &self.v, self.heads, scales);
        Expected { exact: of(None), rounded: of(Some(scales)) }
    }

    /// The node with these scales, for all token counts and context lengths.
    pub fn onnx(&self, scales: &Scales) -> Vec<u8> {
        let channels = self.heads * HEAD;
        let rows = || vec![Axis::Size(1), Axis::Symbol("tokens"), Axis::Size(channels)];
        let is_self = self.kind.is_self();
        let inputs = if is_self {
            let angles = || vec![Axis::Symbol("tokens"), Axis::Size(HEAD / 2)];
            let [q, k, v] = ["q", "k", "v"].map(|name| (name, rows()));
            vec![q, k, v, ("cos", angles()), ("sin", angles())]
        } else {
            let sizes = [Axis::Size(1), Axis::Size(self.heads), Axis::Symbol("context")];
            let cached = || [&sizes[..], &[Axis::Size(HEAD)]].concat();
            vec![("q", rows()), ("k", cached()), ("v", cached())]
        };
        let constants = vec![
            ("norm_q", vec![channels], bf16_bytes(&self.norm_q)),
            ("norm_k", vec![channels], bf16_bytes(&self.norm_k)),
            ("out_scale", vec![], bf16_bytes(&[scales.out])),
        ];
        let order: &[_] = match is_self {
            true => &["q", "k", "v", "norm_q", "norm_k", "cos", "sin"],
            false => &["q", "k", "v", "norm_q"],
        };
        let attributes = [
            ("plugin_namespace", Value::Text("bernini")),
            ("plugin_version", Value::Text("2")),
            ("heads", Value::Int(self.heads as i64)),
            ("rope", Value::Int(i64::from(is_self))),
            ("center_keys", Value::Int(i64::from(self.kind == Kind::CenteredKeys))),
            ("eps", Value::Float(EPS)),
            ("q_scale", Value::Float(scales.q)),
            ("k_scale", Value::Float(scales.k)),
            ("v_scale", Value::Float(scales.v)),
            ("out_scale", Value::Float(scales.out)),
        ];
        onnx::attention(&inputs, constants, order, &attributes)
    }

    /// Ranges of the inputs, best at this case's sizes.
    pub fn ranges(&self) -> Vec<InputShapes> {
        let shapes = |queries, keys| Self::shapes(self.kind, self.heads, queries, keys);
        let range = |i: usize| {
            let of = |queries, keys| {
                let (name, shape) = shapes(queries, keys).swap_remove(i);
                (name, shape.iter().map(|&n| n as i64).collect::<Vec<_>>())
            };
            let (name, min) = of(TOKENS.0, CONTEXT.0);
            let opt = of(self.queries, self.keys).1;
            let max = of(TOKENS.1.max(self.queries), CONTEXT.1).1;
            InputShapes { name: name.into(), min, opt, max }
        };
        (0..shapes(1, 1).len()).map(range).collect()
    }

    fn shapes(
        kind: Kind,
        heads: usize,
        queries: usize,
        keys: usize,
    ) -> Vec<(&'static str, Vec<usize>)> {
        let rows = || vec![1, queries, heads * HEAD];
        let angles = || vec![queries, HEAD / 2];
        let cached = || vec![1, heads, keys, HEAD];
        match kind {
            Kind::SelfAttention | Kind::CenteredKeys => vec![
                ("q", rows()),
                ("k", rows()),
                ("v", rows()),
                ("cos", angles()),
                ("sin", angles()),
            ],
            Kind::Cross => vec![("q", rows()), ("k", cached()), ("v", cached())],
        }
    }

    /// Every input: name, shape, values.
    pub fn values(&self) -> Vec<(&'static str, Vec<usize>, Vec<f32>)> {
        let shapes = Self::shapes(self.kind, self.heads, self.queries, self.keys).into_iter();
        let values = |name: &str| match (name, self.kind) {
            ("q", _) => self.q.clone(),
            ("k", Kind::Cross) => heads_first(&self.k, self.heads),
            ("v", Kind::Cross) => heads_first(&self.v, self.heads),
            ("k", _) => self.k.clone(),
            ("v", _) => self.v.clone(),
            ("cos", _) => self.cos.clone(),
            _ => self.sin.clone(),
        };
        shapes.map(|(name, shape)| (name, shape, values(name))).collect()
    }

    /// The inputs as the node takes them.
    pub fn inputs(&self) -> Vec<(&'static str, Array)> {
        let array = |(name, shape, values): (_, Vec<usize>, Vec<f32>)| {
            let bytes = match name {
                "cos" | "sin" => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
                _ => bf16_bytes(&values),
            };
            (name, Array { shape, bytes })
        };
        self.values().into_iter().map(array).collect()
    }

    /// Weights of the norms of queries and keys.
    pub fn norms(&self) -> [&[f32]; 2] {
        [&self.norm_q, &self.norm_k]
    }
}

/// Scales that serve both.
pub fn largest(a: Scales, b: Scales) -> Scales {
    let (q, k) = (a.q.max(b.q), a.k.max(b.k));
    Scales { q, k, v: a.v.max(b.v), out: a.out.max(b.out) }
}

/// [T, heads, 128] to [heads, T, 128].
fn heads_first(x: &[f32], heads: usize) -> Vec<f32> {
    let of_head = |head| x.chunks_exact(HEAD).skip(head).step_by(heads).flatten().copied();
    (0..heads).flat_map(of_head).collect()
}

fn bf16_bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect()
}

/// Repeatable random numbers.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as f64 + 0.5) / f64::from(1u32 << 31)
    }

    /// As bf16 holds them.
    fn normal(&mut self, len: usize, deviation: f64, mean: f64) -> Vec<f32> {
        let mut next = || {
            let (radius, angle) = (self.uniform(), self.uniform());
            (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
        };
        let values = (0..len).map(|_| bf16::from_f64(mean + deviation * next()).to_f32());
        values.collect()
    }
}
