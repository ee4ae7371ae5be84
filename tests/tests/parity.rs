//! Every graph against diffusers 0.35.2 and transformers 4.57.3, on random weights in f32.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use bernini_graphs::submodule::vae::{FRAMES, LATENTS};
use bernini_graphs::{Component, Submodule};
use bernini_runner::TextEncoder;
use bernini_runner::latents::{Grid, pack};
use bernini_runner::renderer::{Expert, ExpertContext, Noise, Tokens};
use bernini_tests::{Golden, Model, assert_parity, run_chunks};
use ndarray::{Array2, Array3, Array4, Axis, IxDyn, Slice};
use serde_json::Value;

static DIT_A: LazyLock<Model> = LazyLock::new(|| Model::of("dit_a", Component::Transformer));

fn text_encoder(case: &str) {
    let model = Model::of(case, Component::TextEncoder);
    let golden = Golden::load(case);
    let mut encoder = TextEncoder::open(&model.backend(), model.export.package()).unwrap();
    for length in [7, 150] {
        let hidden = encoder.encode(&golden.integers(&format!("ids_{length}"))).unwrap();
        let expected = golden.output::<IxDyn>(&format!("hidden_{length}"));
        assert_parity(case, hidden.as_slice().unwrap(), expected.as_slice().unwrap());
    }
}

#[test]
fn umt5_a_matches_transformers() {
    text_encoder("umt5_a");
}

#[test]
fn umt5_b_matches_transformers() {
    text_encoder("umt5_b");
}

/// Latents `[16, t, 2h, 2w]` of an input `[1, 16, t, 2h, 2w]`.
fn latents(golden: &Golden, name: &Value) -> Array4<f32> {
    let batch = golden.input(name.as_str().unwrap());
    batch.index_axis_move(Axis(0), 0).into_dimensionality().unwrap()
}

fn expert(model: &Model, case: &str, noise: Noise) {
    let golden = Golden::load(case);
    let backend = model.backend();
    let configs = model.export.configs();
    let config = if noise == Noise::High { &configs.transformer } else { &configs.transformer_2 };
    let mut expert = Expert::load(&backend, noise, config).unwrap();

    let rows = golden.json["context_rows"].as_u64().unwrap() as usize;
    let text = golden.input("context").into_dimensionality::<ndarray::Ix3>().unwrap();
    let mut context = Array2::zeros((rows, config.text_dim));
    let real = Slice::from(..text.dim().1);
    context.slice_axis_mut(Axis(0), real).assign(&text.index_axis(Axis(0), 0));
    let mut session = bernini_runner::backend::Backend::load(&backend, noise.context()).unwrap();
    let context = ExpertContext::new(&mut *session, &context).unwrap();

    let runs = golden.json["runs"].as_array().unwrap();
    assert!(runs.len() >= 5);
    for run in runs {
        let target = latents(&golden, &run["target"]);
        let sources: Vec<_> = run["sources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|source| {
                (latents(&golden, &source["latents"]), source["source_id"].as_f64().unwrap())
            })
            .collect();
        let sources: Vec<_> = sources.iter().map(|(latents, id)| (latents, *id)).collect();
        let tokens = Tokens::with_ids(Grid::of(&target), &sources, config.attention_head_dim);
        let timestep = run["timestep"].as_f64().unwrap() as f32;
        let velocity = expert.velocity(&pack(&target), &tokens, timestep, &context).unwrap();
        let name = run["name"].as_str().unwrap();
        let expected = golden.output::<ndarray::Ix3>(name);
        let found = pack(&velocity);
        assert_parity(
            &format!("{case} {name}"),
            found.as_slice().unwrap(),
            expected.as_slice().unwrap(),
        );
    }
}

#[test]
fn dit_a_matches_diffusers_with_and_without_sources() {
    expert(&DIT_A, "dit_a", Noise::High);
}

#[test]
fn dit_b_matches_diffusers_with_and_without_sources() {
    expert(&Model::of("dit_b", Component::Transformer2), "dit_b", Noise::Low);
}

#[test]
fn dit_c_matches_the_specification_where_diffusers_splits_its_rotary_table_wrongly() {
    expert(&Model::of("dit_c", Component::Transformer), "dit_c", Noise::High);
}

const ENCODER: [Submodule; 2] = [Submodule::VaeEncoderFirst, Submodule::VaeEncoderNext];
const DECODER: [Submodule; 2] = [Submodule::VaeDecoderFirst, Submodule::VaeDecoderNext];

/// Encodes and decodes 1, 5 and 13 frames, in chunks of one latent frame and as one chunk.
fn vae(case: &str) {
    let model = Model::of(case, Component::Vae);
    let golden = Golden::load(case);
    let backend = model.backend();
    for (frames, chunks) in [(1, 0), (5, 1), (13, 3)] {
        let whole: &[usize] = if chunks == 0 { &[] } else { &[chunks] };
        let single = vec![1; chunks];
        for sizes in [&single[..], whole] {
            let name = format!("{case}, {frames} frames in chunks {sizes:?}");
            let pixels: Vec<_> = sizes.iter().map(|latent| 4 * latent).collect();
            let input = golden.input(&format!("frames_{frames}"));
            let found = run_chunks(&backend, ENCODER, [FRAMES, LATENTS], &input, &pixels);
            let expected = golden.output::<IxDyn>(&format!("latents_{frames}"));
            assert_eq!(found.shape(), expected.shape());
            assert_parity(&name, found.as_slice().unwrap(), expected.as_slice().unwrap());

            let input = golden.input(&format!("latents_{}", chunks + 1));
            let found = run_chunks(&backend, DECODER, [LATENTS, FRAMES], &input, sizes);
            let expected = golden.output::<IxDyn>(&format!("frames_{frames}"));
            assert_eq!(found.shape(), expected.shape());
            assert_parity(&name, found.as_slice().unwrap(), expected.as_slice().unwrap());
        }
    }
}

#[test]
fn vae_a_matches_diffusers_in_chunks_and_whole() {
    vae("vae_a");
}

#[test]
fn vae_b_matches_diffusers_in_chunks_and_whole() {
    vae("vae_b");
}

/// Velocity of the target `[16, 2, 4, 6]` with two sources, in `order`, under turned angles.
fn velocity_with(order: [usize; 2], turn: f32) -> Array3<f32> {
    let backend = DIT_A.backend();
    let config = &DIT_A.export.configs().transformer;
    let mut expert = Expert::load(&backend, Noise::High, config).unwrap();
    let wave = |shape: [usize; 4], phase: f32| {
        let mut i = 0.0f32;
        Array4::from_shape_simple_fn(shape, || {
            i += 1.0;
            (i * 0.37 + phase).sin()
        })
    };
    let target = wave([16, 2, 4, 6], 0.0);
    let sources = [(wave([16, 1, 6, 4], 1.0), 1.0), (wave([16, 3, 2, 4], 2.0), 2.0)];
    let chosen: Vec<_> = order.iter().map(|&i| (&sources[i].0, sources[i].1)).collect();
    let mut tokens = Tokens::with_ids(Grid::of(&target), &chosen, config.attention_head_dim);
    if turn != 0.0 {
        turn_positions(&mut tokens, turn);
    }
    let context = Array2::from_shape_fn((9, config.text_dim), |(i, j)| ((i * 7 + j) as f32).cos());
    let mut session =
        bernini_runner::backend::Backend::load(&backend, Noise::High.context()).unwrap();
    let context = ExpertContext::new(&mut *session, &context).unwrap();
    let velocity = expert.velocity(&pack(&target), &tokens, 500.0, &context).unwrap();
    velocity.into_shape_with_order((32, 4, 6)).unwrap()
}

/// Shifts every position of every token by `shift`: angle addition, pair by pair.
fn turn_positions(tokens: &mut Tokens, shift: f32) {
    use bernini_runner::Tensor::F32;
    let (F32(cos), F32(sin)) = (&mut tokens.rope_cos, &mut tokens.rope_sin) else { panic!() };
    for (mut cos, mut sin) in cos.rows_mut().into_iter().zip(sin.rows_mut()) {
        for (pair, (c, s)) in cos.iter_mut().zip(sin.iter_mut()).enumerate() {
            let (sin_d, cos_d) = (shift / (pair as f32 + 1.0)).sin_cos();
            (*c, *s) = (*c * cos_d - *s * sin_d, *s * cos_d + *c * sin_d);
        }
    }
}

#[test]
fn order_of_sources_does_not_matter() {
    let (a, b) = (velocity_with([0, 1], 0.0), velocity_with([1, 0], 0.0));
    assert_parity("swapped sources", a.as_slice().unwrap(), b.as_slice().unwrap());
}

#[test]
fn shifting_every_position_alike_changes_nothing() {
    let (a, b) = (velocity_with([0, 1], 0.0), velocity_with([0, 1], 3.7));
    assert_parity("shifted positions", a.as_slice().unwrap(), b.as_slice().unwrap());
}
