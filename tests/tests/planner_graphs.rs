//! The planner's graphs against transformers 4.57.3 and plain torch, on random weights in f32.

#![allow(clippy::unwrap_used)]

use bernini_graphs::Submodule;
use bernini_graphs::submodule::{connector, flow_head, planner_lm};
use bernini_runner::Tensor;
use bernini_runner::backend::{Backend, Outputs, Session};
use bernini_runner::latents::Grid;
use bernini_runner::planner::{
    Branch, FlowSchedule, MASKED, VisionTower, guidance_chain, mrope, sinusoids,
};
use bernini_tests::{Golden, Model, PlannerPart, assert_parity};
use half::bf16;
use ndarray::{Array1, Array3, Array4, ArrayD, ArrayViewD, Axis, IxDyn, Slice, concatenate, stack};
use serde_json::Value;

fn integers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

fn vision(case: &str) {
    let (golden, model) = (Golden::load(case), Model::full_with(case, PlannerPart::Vision));
    let config = &model.export.configs().planner.as_ref().unwrap().vision;
    let backend = model.backend();
    let mut tower = VisionTower::load(&backend, config).unwrap();
    for (name, grid) in golden.json["grids"].as_object().unwrap() {
        let grid = integers(grid);
        let patches = golden.input(&format!("patches_{name}"));
        let size = (grid[0], grid[1] * grid[2], patches.shape()[1]);
        let patches: Array3<f32> = patches.into_shape_with_order(size).unwrap();
        let grid = Grid { t: grid[0], h: grid[1] / 2, w: grid[2] / 2 };
        let found = tower.features(patches, grid).unwrap();
        let expected = golden.output::<IxDyn>(&format!("features_{name}"));
        let name = format!("{case} {name}");
        assert_parity(&name, found.as_slice().unwrap(), expected.as_slice().unwrap());
    }
}

#[test]
fn vision_a_matches_transformers_with_windows_of_every_size() {
    vision("vision_a");
}

#[test]
fn vision_b_matches_transformers_with_windows_of_every_size() {
    vision("vision_b");
}

/// Bias of spec D.5 over a whole stream: 0 text, 2 source, 3 target.
fn whole_bias(types: &[usize]) -> Array4<f32> {
    let n = types.len();
    Array4::from_shape_fn((1, 1, n, n), |(_, _, q, k)| {
        let seen = match (types[q], types[k]) {
            (3, 3) => true,
            (_, 3) => false,
            _ => k <= q,
        };
        if seen { 0.0 } else { MASKED }
    })
}

fn rows(tensor: &ArrayD<f32>, axis: usize, range: std::ops::Range<usize>) -> ArrayD<f32> {
    tensor.slice_axis(Axis(axis), Slice::from(range)).to_owned()
}

fn language_model(case: &str) {
    let (golden, model) = (Golden::load(case), Model::full_with(case, PlannerPart::LanguageModel));
    let config = &model.export.configs().planner.as_ref().unwrap().lm;
    let mut session = model.backend().load(Submodule::PlannerLm).unwrap();
    for (name, run) in golden.json["runs"].as_object().unwrap() {
        let types = integers(&run["types"]);
        let axes: Vec<_> = run["positions"].as_array().unwrap().iter().map(integers).collect();
        let positions: Vec<_> =
            (0..types.len()).map(|i| [axes[0][i], axes[1][i], axes[2][i]]).collect();
        let rope = mrope(
            &positions,
            config.head_dim(),
            config.rope_theta,
            config.rope_scaling.mrope_section,
        );
        let embeds = golden.input(&format!("embeds_{name}"));
        let bias = whole_bias(&types).into_dyn();
        let (cos, sin) = (rope.cos.insert_axis(Axis(0)), rope.sin.insert_axis(Axis(0)));
        let (cos, sin) = (cos.into_dyn(), sin.into_dyn());
        let n = types.len();
        let layers = [config.layers(), 1, config.num_key_value_heads, 0, config.head_dim()];
        let mut past = [ArrayD::zeros(IxDyn(&layers)), ArrayD::zeros(IxDyn(&layers))];
        // As one pass, and as two of which the second sees the first's keys and values.
        for cuts in [vec![0, n], vec![0, n / 3, n]] {
            past = past.map(|_| ArrayD::zeros(IxDyn(&layers)));
            let mut hidden = vec![];
            for cut in cuts.windows(2) {
                let part = cut[0]..cut[1];
                let seen = rows(&rows(&bias, 2, part.clone()), 3, 0..cut[1]);
                let inputs = [
                    (planner_lm::EMBEDS, rows(&embeds, 1, part.clone())),
                    (planner_lm::ROPE_COS, rows(&cos, 1, part.clone())),
                    (planner_lm::ROPE_SIN, rows(&sin, 1, part)),
                    (planner_lm::PAST_KEYS, past[0].clone()),
                    (planner_lm::PAST_VALUES, past[1].clone()),
                    (planner_lm::BIAS, seen),
                ];
                let inputs = inputs.map(|(name, array)| (name, Tensor::from(array)));
                let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
                let mut outputs = session.run(&inputs).unwrap();
                hidden.push(outputs.take_f32::<IxDyn>(planner_lm::HIDDEN).unwrap());
                for (past, name) in past.iter_mut().zip([planner_lm::KEYS, planner_lm::VALUES]) {
                    let own = outputs.take_f32::<IxDyn>(name).unwrap();
                    *past = concatenate(Axis(3), &[past.view(), own.view()]).unwrap();
                }
            }
            // A target token of the first part does not see those of the second: the cut lies
            // before the target in every run.
            assert!(cuts.len() == 2 || types[..cuts[1]].iter().all(|kind| *kind != 3));
            let views: Vec<_> = hidden.iter().map(|part| part.view()).collect();
            let found = concatenate(Axis(1), &views).unwrap();
            let found: Vec<_> = found.iter().copied().collect();
            let expected = golden.output::<IxDyn>(&format!("hidden_{name}"));
            let name = format!("{case} {name} in {} parts", cuts.len() - 1);
            assert_parity(&name, &found, expected.as_slice().unwrap());
        }
    }
}

#[test]
fn planner_lm_a_matches_transformers_whole_and_with_past() {
    language_model("planner_lm_a");
}

#[test]
fn planner_lm_b_matches_transformers_whole_and_with_past() {
    language_model("planner_lm_b");
}

#[test]
fn connectors_match_plain_torch() {
    let golden = Golden::load("connector");
    let model = Model::full_with("connector", PlannerPart::Connector);
    let hidden = golden.input("hidden");
    let mut proj_gen = model.backend().load(Submodule::ProjGen).unwrap();
    let whole = Tensor::from(hidden.clone());
    let mut outputs = proj_gen.run(&[(connector::HIDDEN, &whole)]).unwrap();
    let found = outputs.take_f32::<IxDyn>(connector::ROWS).unwrap();
    let expected = golden.output::<IxDyn>("proj_gen");
    assert_parity("proj_gen", found.as_slice().unwrap(), expected.as_slice().unwrap());

    let mut pred_vit = model.backend().load(Submodule::PredVit).unwrap();
    let mut outputs = pred_vit.run(&[(connector::HIDDEN, &whole)]).unwrap();
    let found = outputs.take_f32::<IxDyn>(connector::COND).unwrap();
    let expected = golden.output::<IxDyn>("pred_vit");
    assert_parity("pred_vit", found.as_slice().unwrap(), expected.as_slice().unwrap());
}

/// The flow head's two graphs, as the runner composes them.
struct Head {
    modulation: Box<dyn Session>,
    head: Box<dyn Session>,
}

impl Head {
    fn new() -> Self {
        let model = Model::full_with("flow_head", PlannerPart::FlowHead);
        let load = |submodule| model.backend().load(submodule).unwrap();
        Self { modulation: load(Submodule::FlowHeadModulation), head: load(Submodule::FlowHead) }
    }

    /// Modulation `[steps, batch, rows, ..]` of the `times` and of one condition per branch.
    fn modulation(&mut self, times: &[f32], conditions: &[ArrayD<f32>]) -> ArrayD<f32> {
        let t_embed = Tensor::from(sinusoids(times, 256));
        let conditions: Vec<_> = conditions.iter().map(|cond| cond.view()).collect();
        let cond = Tensor::from(stack(Axis(0), &conditions).unwrap());
        let inputs = [(flow_head::T_EMBED, &t_embed), (flow_head::COND, &cond)];
        self.modulation.run(&inputs).unwrap().take_f32(flow_head::MODULATION).unwrap()
    }

    /// Velocity of each branch, and x after the step.
    fn step(&mut self, x: &Tensor, modulation: ArrayViewD<'_, f32>, weights: &[f32]) -> Outputs {
        let modulation = Tensor::from(modulation.insert_axis(Axis(0)).to_owned());
        let weights = Array1::from(weights.to_vec()).into_shape_with_order((weights.len(), 1, 1));
        let weights = Tensor::from(weights.unwrap());
        let inputs = [
            (flow_head::X, x),
            (flow_head::MODULATION, &modulation),
            (flow_head::WEIGHTS, &weights),
        ];
        self.head.run(&inputs).unwrap()
    }
}

#[test]
fn flow_head_matches_plain_torch_at_every_time() {
    let golden = Golden::load("flow_head");
    let mut head = Head::new();
    let runs = golden.json["velocities"].as_array().unwrap();
    assert!(runs.len() >= 4);
    for run in runs {
        let text = |key: &str| run[key].as_str().unwrap();
        let t = bf16::from_f64(run["t"].as_f64().unwrap()).to_f32();
        let modulation = head.modulation(&[t], &[golden.input(text("cond"))]);
        let x = Tensor::from(golden.input(text("x")));
        let mut outputs = head.step(&x, modulation.index_axis(Axis(0), 0), &[1.0]);
        let found = outputs.take_f32::<IxDyn>(flow_head::VELOCITY).unwrap();
        let expected = golden.output::<IxDyn>(text("name"));
        assert_parity(text("name"), found.as_slice().unwrap(), expected.as_slice().unwrap());
    }
}

#[test]
fn draws_match_plain_torch_under_every_guidance() {
    let golden = Golden::load("flow_head");
    let mut head = Head::new();
    let shift = golden.json["shift"].as_f64().unwrap() as f32;
    let runs = golden.json["samples"].as_array().unwrap();
    assert!(runs.len() >= 9);
    for run in runs {
        let number = |key: &str| run[key].as_f64().map(|value| value as f32);
        let schedule = FlowSchedule::new(run["steps"].as_u64().unwrap() as usize, shift);
        let (txt, img) = (number("vit_txt_cfg").unwrap(), number("vit_img_cfg"));
        let guidance = guidance_chain(txt, img, true, false);
        let conditions = guidance.branches.iter().map(|branch| match branch {
            Branch::Uncond => golden.input("uncond"),
            Branch::ImgCond => golden.input("imgcond"),
            Branch::Cond => golden.input("cond"),
        });
        let conditions: Vec<_> = conditions.collect();
        let times: Vec<_> = schedule.steps().iter().map(|step| step.t).collect();
        let modulation = head.modulation(&times, &conditions);
        let mut x = Tensor::from(golden.input("noise"));
        for (step, modulation) in schedule.steps().iter().zip(modulation.outer_iter()) {
            let branches = 0..conditions.len();
            let weights: Vec<_> = branches.map(|i| guidance.share(i) * step.size()).collect();
            x = head.step(&x, modulation, &weights).take(flow_head::NEXT).unwrap();
        }
        let Tensor::F32(found) = x else { panic!("on the CPU") };
        let name = run["name"].as_str().unwrap();
        let expected = golden.output::<IxDyn>(name);
        assert_parity(name, found.as_slice().unwrap(), expected.as_slice().unwrap());
    }
}
