//! The requests of one command: the flags alone, one case, or a file of cases.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use bernini_graphs::manifest::Variant;
use bernini_runner::case::Case;
use bernini_runner::request::Request;

use super::{RunArgs, Settings};

/// Settings of every request, in order.
pub fn settings(args: &RunArgs) -> anyhow::Result<Vec<Settings>> {
    let flags = &args.flags;
    let cases = match (&flags.case, &flags.inputs) {
        (Some(path), _) => vec![Some(Case::read(path)?)],
        (None, Some(path)) => Case::read_all(path)?.into_iter().map(Some).collect(),
        (None, None) if flags.prompt.is_empty() && !flags.print_config => {
            bail!("--prompt is empty: pass it, or --case FILE")
        }
        (None, None) => vec![None],
    };
    cases.into_iter().map(|case| Settings::resolve(args, case)).collect()
}

/// Refuses two requests that would write the same file.
pub fn check_outputs(requests: &[Request]) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for Request { output, .. } in requests {
        let absolute =
            std::path::absolute(output).with_context(|| format!("output {}", output.display()))?;
        if !seen.insert(absolute) {
            bail!("two cases have the output {}; give each its own", output.display());
        }
    }
    Ok(())
}

/// The full model's rules on what a task starts from (H.2).
pub fn check_sources(request: &Request, variant: Variant) -> anyhow::Result<()> {
    if variant == Variant::Renderer {
        return Ok(());
    }
    let Request { task_type, videos, image, images, .. } = request;
    if image.is_some() && !images.is_empty() {
        bail!("image and images are both given: the full model takes only one of them");
    }
    let needs = |tasks: &[&str]| tasks.contains(&task_type.as_str());
    if needs(&["v2v", "mv2v", "rv2v", "ads2v"]) && videos.is_empty() {
        bail!("task {task_type} needs a source video: pass --video, or video in the case file");
    }
    if needs(&["r2v", "rv2v", "ads2v"]) && images.is_empty() && image.is_none() {
        bail!("task {task_type} needs reference images: pass --images, or images in the case file");
    }
    if needs(&["i2i"]) && images.is_empty() && image.is_none() {
        bail!("task i2i needs an image: pass --image, or image in the case file");
    }
    Ok(())
}
