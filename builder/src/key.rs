//! The content key: a hash of everything that decides an engine.

use serde::Serialize;

/// Raised when engines of the same ingredients come out differently, because this crate builds
/// them differently.
const RECIPE: u32 = 1;
/// Hex digits of the key in a file name.
const SHORT: usize = 16;

/// Range of one input's shape in one optimization profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputRange {
    /// Name of the input.
    pub name: String,
    /// Smallest sizes.
    pub min: Vec<usize>,
    /// The sizes that kernels are chosen for.
    pub opt: Vec<usize>,
    /// Largest sizes.
    pub max: Vec<usize>,
}

/// How TensorRT is asked to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Flags {
    /// 0 (fastest build) to 5 (fastest engine).
    pub optimization_level: u8,
    /// Scratch memory that a layer may use, in bytes; `None` is all of the GPU.
    pub workspace: Option<usize>,
}

impl Default for Flags {
    fn default() -> Self {
        Self { optimization_level: 3, workspace: None }
    }
}

/// What an engine is built with and runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// Version of TensorRT, such as `10.6.0`.
    pub tensorrt: String,
    /// Name of the GPU, such as `NVIDIA H200`.
    pub gpu: String,
    /// Such as `9.0`.
    pub compute_capability: String,
}

/// Everything that decides an engine. Names of workloads and profiles do not.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ingredients<'a> {
    /// blake3 of the graph.
    pub(crate) graph: &'a str,
    /// blake3 of the weights.
    pub(crate) weights: &'a str,
    /// Inputs of each profile.
    pub(crate) profiles: &'a [Vec<InputRange>],
    pub(crate) flags: Flags,
    pub(crate) platform: &'a Platform,
    /// blake3 of the plugin library, where the graph needs one.
    pub(crate) plugin: Option<&'a str>,
}

impl Ingredients<'_> {
    /// blake3 in hex.
    pub(crate) fn key(&self) -> String {
        // JSON keeps neighbouring texts apart, so no two lists of ingredients are the same bytes.
        let text = serde_json::to_vec(&(RECIPE, self));
        let text = text.expect("invariant: strings and numbers are JSON");
        blake3::hash(&text).to_hex().to_string()
    }
}

/// The part of a key that stands in file names.
pub(crate) fn short(key: &str) -> &str {
    key.get(..SHORT).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform() -> Platform {
        Platform {
            tensorrt: "10.6.0".into(),
            gpu: "NVIDIA H200".into(),
            compute_capability: "9.0".into(),
        }
    }

    fn range() -> InputRange {
        let sizes = |n| vec![1, n, 64];
        InputRange { name: "tokens".into(), min: sizes(3), opt: sizes(5), max: sizes(7) }
    }

    #[test]
    fn every_ingredient_changes_the_key() {
        let (platform, profiles) = (platform(), [vec![range()]]);
        let same = Ingredients {
            graph: "aa",
            weights: "bb",
            profiles: &profiles,
            flags: Flags::default(),
            platform: &platform,
            plugin: None,
        };
        let shapes = |change: fn(&mut InputRange)| {
            let mut changed = range();
            change(&mut changed);
            [vec![changed]]
        };
        let of = |change: fn(&mut Platform)| {
            let mut changed = self::platform();
            change(&mut changed);
            changed
        };
        let ranges = [
            shapes(|r| r.min[1] = 2),
            shapes(|r| r.opt[1] = 6),
            shapes(|r| r.max[1] = 8),
            shapes(|r| r.name = "other".into()),
        ];
        let platforms = [
            of(|p| p.tensorrt = "10.6.1".into()),
            of(|p| p.gpu = "NVIDIA H100".into()),
            of(|p| p.compute_capability = "9.1".into()),
        ];
        let [split, twice] = [vec![vec![range()], vec![]], vec![vec![range()], vec![range()]]];
        let flags = [
            Flags { optimization_level: 4, ..Flags::default() },
            Flags { workspace: Some(1 << 30), ..Flags::default() },
        ];
        let mut keys = vec![
            same.key(),
            Ingredients { graph: "ab", ..same.clone() }.key(),
            Ingredients { weights: "ba", ..same.clone() }.key(),
            // Moving a character from one text to the next is a change too.
            Ingredients { graph: "aab", weights: "b", ..same.clone() }.key(),
            Ingredients { plugin: Some(""), ..same.clone() }.key(),
            Ingredients { plugin: Some("cc"), ..same.clone() }.key(),
            Ingredients { profiles: &split, ..same.clone() }.key(),
            Ingredients { profiles: &twice, ..same.clone() }.key(),
        ];
        keys.extend(ranges.iter().map(|p| Ingredients { profiles: p, ..same.clone() }.key()));
        keys.extend(platforms.iter().map(|p| Ingredients { platform: p, ..same.clone() }.key()));
        keys.extend(flags.map(|flags| Ingredients { flags, ..same.clone() }.key()));
        let (count, again) = (keys.len(), same.key());
        assert_eq!(keys[0], again);
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
        assert_eq!(short(&again).len(), 16);
    }
}
