//! Whether an engine folder can serve a request: judged from sizes alone, before anything is loaded.

use std::collections::BTreeSet;

use bernini_graphs::Submodule;

use super::BackendError;
use super::sizes::{Sizes, require};
use crate::engines::Engines;
use crate::guidance::Guidance;
use crate::package::Package;
use crate::renderer::{Noise, members};
use crate::request::{Plan, Request, RequestError};
use crate::scheduler::Scheduler;

/// Pixels along a side of a latent.
const LATENT_STRIDE: u32 = 8;

/// Every submodule, in the order in which the pipeline loads them.
const LOADS: [Submodule; Submodule::ALL.len()] = [
    Submodule::TextEncoder,
    Submodule::Vision,
    Submodule::PlannerLm,
    Submodule::PredVit,
    Submodule::FlowHeadModulation,
    Submodule::FlowHead,
    Submodule::ProjGen,
    Submodule::VaeEncoderFirst,
    Submodule::VaeEncoderNext,
    Submodule::TransformerContext,
    Submodule::Transformer,
    Submodule::Transformer2Context,
    Submodule::Transformer2,
    Submodule::VaeDecoderFirst,
    Submodule::VaeDecoderNext,
];

/// Refuses a request, whose `plan` is its own, that lacks an engine or a profile.
///
/// Sizes that depend on the prompt are left to the stage that knows them.
///
/// # Errors
/// [`BackendError::MissingSubmodule`], [`super::EngineError::NoProfile`] with the workload to build.
pub fn check_engines(
    request: &Request,
    plan: &Plan,
    package: &Package,
    engines: &Engines,
) -> Result<(), BackendError> {
    let workload = workload(plan);
    let needs =
        needs(request, plan, package).map_err(|reason| BackendError::Request(Box::new(reason)))?;
    for (submodule, sizes) in needs {
        let missing = BackendError::MissingSubmodule { submodule };
        let entry = engines.engine(submodule).ok_or(missing)?;
        require(submodule, &entry.profiles, &sizes, &workload)?;
    }
    Ok(())
}

/// The submodules that a request loads, in the order in which the pipeline does.
pub(super) fn loads(
    request: &Request,
    plan: &Plan,
    package: &Package,
) -> Result<Vec<Submodule>, RequestError> {
    let needed: BTreeSet<_> =
        needs(request, plan, package)?.into_iter().map(|(submodule, _)| submodule).collect();
    Ok(LOADS.into_iter().filter(|submodule| needed.contains(submodule)).collect())
}

/// What `bernini build --workload` calls a plan: the target, then its sources.
fn workload(plan: &Plan) -> String {
    let sources = plan.sources.iter().map(|source| {
        let frames = 4 * (source.grid().t - 1) + 1;
        format!("+{}x{}x{frames}", source.width, source.height)
    });
    let target = format!("{}x{}x{}", plan.width, plan.height, plan.frames);
    std::iter::once(target).chain(sources).collect()
}

/// Every submodule that runs, with the sizes that are known of it.
fn needs(
    request: &Request,
    plan: &Plan,
    package: &Package,
) -> Result<BTreeSet<(Submodule, Sizes)>, RequestError> {
    let mut needs = BTreeSet::from([(Submodule::TextEncoder, Sizes::new())]);
    needs.extend(planner(plan));
    needs.extend(vae(plan));
    let tokens = token_counts(request, plan)?;
    for noise in experts(request, package)? {
        needs.insert((noise.context(), Sizes::new()));
        needs.extend(tokens.iter().map(|&n| (noise.transformer(), known(&[("tokens", n)]))));
    }
    Ok(needs)
}

fn known(sizes: &[(&str, usize)]) -> Sizes {
    sizes.iter().map(|&(symbol, size)| (symbol.to_string(), size)).collect()
}

fn planner(plan: &Plan) -> Vec<(Submodule, Sizes)> {
    let Some(target) = plan.target else { return vec![] };
    let tokens = known(&[("tokens", target.visual.grid.tokens())]);
    let mut needs = vec![(Submodule::PlannerLm, tokens)];
    use Submodule::{FlowHead, FlowHeadModulation, PredVit, ProjGen};
    let others = [PredVit, FlowHeadModulation, FlowHead, ProjGen];
    needs.extend(others.map(|submodule| (submodule, Sizes::new())));
    if !plan.sources.is_empty() {
        needs.push((Submodule::Vision, Sizes::new()));
    }
    needs
}

fn vae(plan: &Plan) -> Vec<(Submodule, Sizes)> {
    use Submodule::{VaeDecoderFirst, VaeDecoderNext, VaeEncoderFirst, VaeEncoderNext};
    let half = |first, next, width: u32, height: u32, frames: usize| {
        let [height, width] = [height, width].map(|side| (side / LATENT_STRIDE) as usize);
        let size = [("latent_height", height), ("latent_width", width)];
        let later =
            (frames > 1).then(|| (next, known(&[&size[..], &[("latent_frames", 1)]].concat())));
        std::iter::once((first, known(&size))).chain(later)
    };
    let mut needs = vec![];
    for source in &plan.sources {
        let frames = source.frames.as_ref().map_or(1, Vec::len);
        needs.extend(half(VaeEncoderFirst, VaeEncoderNext, source.width, source.height, frames));
    }
    needs.extend(half(VaeDecoderFirst, VaeDecoderNext, plan.width, plan.height, plan.frames));
    needs
}

/// Tokens of every forward of a step.
fn token_counts(request: &Request, plan: &Plan) -> Result<BTreeSet<usize>, RequestError> {
    let available = plan.available();
    let guidance = Guidance::new(request.guidance_mode, available, request.omegas, request.apg)?;
    let guidance = guidance.with_reference_schedule(request.reference_schedule);
    let is_video: Vec<_> = plan.sources.iter().map(|source| source.is_video).collect();
    let tokens = |members: Vec<usize>| -> usize {
        members.into_iter().map(|index| plan.sources[index].grid().tokens()).sum()
    };
    let counts = guidance
        .branches()
        .iter()
        .map(|branch| plan.grid().tokens() + tokens(members(&is_video, branch.sources)));
    Ok(counts.collect())
}

/// The experts that have steps.
fn experts(request: &Request, package: &Package) -> Result<Vec<Noise>, RequestError> {
    let scheduler =
        Scheduler::new(request.scheduler, request.num_inference_steps, request.flow_shift)?;
    let steps = scheduler.timesteps().len();
    let high = (0..steps).any(|i| scheduler.is_high_noise(i, package.boundary_ratio()));
    let low = (0..steps).any(|i| !scheduler.is_high_noise(i, package.boundary_ratio()));
    let all = [(high, Noise::High), (low, Noise::Low)];
    Ok(all.into_iter().filter(|(runs, _)| *runs).map(|(_, noise)| noise).collect())
}

#[cfg(test)]
mod tests {
    use super::super::EngineError;
    use super::super::testing::{EngineFolder, plan, request};
    use super::*;

    fn check(engines: &EngineFolder, request: &Request, plan: &Plan) -> Result<(), BackendError> {
        let engines = Engines::open(engines.path()).unwrap();
        check_engines(request, plan, &engines.package().unwrap(), &engines)
    }

    fn refusal(request: &Request, plan: &Plan) -> String {
        check(&EngineFolder::new(), request, plan).unwrap_err().to_string()
    }

    #[test]
    fn requests_that_the_engines_were_built_for_pass() {
        let engines = EngineFolder::new();
        check(&engines, &request(), &plan(&[])).unwrap();
        check(&engines, &request(), &plan(&[(832, 480, 81)])).unwrap();
    }

    #[test]
    fn other_sizes_are_refused_with_the_workload_to_build() {
        let longer = Plan { frames: 85, ..plan(&[]) };
        let error = refusal(&request(), &longer);
        for words in ["transformer", "tokens 34320", "tokens 32760", "--workload 832x480x85"] {
            assert!(error.contains(words), "{error}");
        }
        let error = refusal(&request(), &plan(&[(832, 480, 81), (848, 480, 1)]));
        for words in ["tokens 67110", "--workload 832x480x81+832x480x81+848x480x1"] {
            assert!(error.contains(words), "{error}");
        }
        // The token counts agree, the latents do not.
        let turned = Plan { width: 480, height: 832, ..plan(&[]) };
        let error = refusal(&request(), &turned);
        assert!(error.contains("vae_decoder") && error.contains("latent_height 104"), "{error}");
    }

    #[test]
    fn an_expert_without_steps_and_a_decoder_of_one_frame_are_not_asked_for() {
        let missing = EngineFolder::edited(|manifest| {
            manifest.engines.remove(Submodule::Transformer2.stem());
        });
        let error = check(&missing, &request(), &plan(&[])).unwrap_err();
        let submodule = Submodule::Transformer2;
        assert!(matches!(error, BackendError::MissingSubmodule { submodule: s } if s == submodule));
        let one_step = Request { num_inference_steps: 1, ..request() };
        check(&missing, &one_step, &plan(&[])).unwrap();
    }

    #[test]
    fn what_is_read_ahead_is_what_runs_in_pipeline_order() {
        let engines = EngineFolder::new();
        let package = Engines::open(engines.path()).unwrap().package().unwrap();
        let stems = |request: &Request, plan: &Plan| -> Vec<_> {
            loads(request, plan, &package).unwrap().into_iter().map(Submodule::stem).collect()
        };
        let one_step = Request { num_inference_steps: 1, ..request() };
        let picture = Plan { frames: 1, ..plan(&[(832, 480, 1)]) };
        let high = ["transformer_context", "transformer"];
        assert_eq!(
            stems(&one_step, &picture),
            [&["text_encoder", "vae_encoder_first"], &high[..], &["vae_decoder_first"]].concat()
        );
        assert_eq!(stems(&request(), &plan(&[])).len(), 7);
        assert_eq!(LOADS.into_iter().collect::<BTreeSet<_>>(), Submodule::ALL.into());
    }

    #[test]
    fn a_folder_without_profiles_is_an_error_and_no_panic() {
        let empty = EngineFolder::edited(|manifest| {
            manifest.engines.values_mut().for_each(|engine| engine.profiles.clear());
        });
        let error = check(&empty, &request(), &plan(&[])).unwrap_err();
        assert!(matches!(error, BackendError::Engine(EngineError::NoProfile { .. })), "{error}");
    }
}
