//! Sizes of a contract's symbols: read off the shapes that are fed in, and found in a profile.

use std::collections::BTreeMap;

use bernini_graphs::Submodule;
use bernini_graphs::engines::ProfileEntry;
use bernini_graphs::manifest::PortEntry;

use super::EngineError;

/// The size of every known symbol by name.
pub(crate) type Sizes = BTreeMap<String, usize>;

/// Reads the symbols of `ports` off the shapes that `shape_of` gives, which have the ports' ranks.
pub(crate) fn bind<'a>(
    submodule: Submodule,
    ports: &[PortEntry],
    shape_of: impl Fn(&str) -> &'a [usize],
) -> Result<Sizes, EngineError> {
    let axes = || ports.iter().flat_map(|port| port.shape.iter().zip(shape_of(&port.name)));
    let mut sizes = Sizes::new();
    for (dim, &size) in axes() {
        if let Some((factor, symbol)) = scaled_symbol(dim)
            && size % factor == 0
        {
            sizes.entry(symbol.into()).or_insert(size / factor);
        }
    }
    for port in ports {
        let expected = port.sizes(&sizes).unwrap_or_default();
        let axes = shape_of(&port.name).iter().enumerate();
        let differs = |(axis, size): &(usize, &usize)| expected.get(*axis) != Some(*size);
        if let Some((axis, &found)) = axes.into_iter().find(differs) {
            let (name, expected) = (port.name.clone(), port.shape[axis].clone());
            return Err(EngineError::Sizes { submodule, name, expected, found });
        }
    }
    Ok(sizes)
}

/// Factor and symbol of a dim such as `8*latent_height`.
fn scaled_symbol(dim: &str) -> Option<(usize, &str)> {
    let is_symbol = |text: &str| text.starts_with(|c: char| c.is_ascii_lowercase());
    let (factor, symbol) = match dim.split_once('*') {
        Some((factor, symbol)) => (factor.parse().ok().filter(|&f| f > 0)?, symbol),
        None => (1, dim),
    };
    (is_symbol(symbol) && !symbol.contains(['*', '+', '-'])).then_some((factor, symbol))
}

/// The smallest profile whose ranges hold all of `sizes`.
pub(crate) fn choose(profiles: &[ProfileEntry], sizes: &Sizes) -> Option<usize> {
    let holds = |profile: &ProfileEntry| {
        let range = |symbol| profile.sizes.get(symbol);
        sizes.iter().all(|(symbol, &size)| range(symbol).is_some_and(|range| range.contains(size)))
    };
    let volume = |profile: &ProfileEntry| -> f64 {
        profile.sizes.values().map(|range| (range.max as f64).max(1.0).ln()).sum()
    };
    let fitting = profiles.iter().enumerate().filter(|(_, profile)| holds(profile));
    fitting.min_by(|(_, a), (_, b)| volume(a).total_cmp(&volume(b))).map(|(index, _)| index)
}

/// [`choose`], or the error that says which profiles there are and what to build.
pub(crate) fn require(
    submodule: Submodule,
    profiles: &[ProfileEntry],
    sizes: &Sizes,
    workload: &str,
) -> Result<usize, EngineError> {
    choose(profiles, sizes).ok_or_else(|| EngineError::NoProfile {
        submodule,
        wanted: sizes.iter().map(|(s, n)| format!("{s} {n}")).collect::<Vec<_>>().join(", "),
        profiles: profiles.iter().map(show).collect::<Vec<_>>().join("; "),
        workload: workload.into(),
    })
}

/// `t2v-480p (context 512–2048, tokens 32760)`.
fn show(profile: &ProfileEntry) -> String {
    let ranges = profile.sizes.iter().map(|(symbol, range)| match range.min == range.max {
        true => format!("{symbol} {}", range.max),
        false => format!("{symbol} {}–{}", range.min, range.max),
    });
    format!("{} ({})", profile.name, ranges.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use bernini_graphs::DType;
    use bernini_graphs::engines::SizeRange;

    use super::*;

    fn port(name: &str, shape: &[&str]) -> PortEntry {
        let shape = shape.iter().map(ToString::to_string).collect();
        PortEntry { name: name.into(), dtype: DType::F32, shape }
    }

    fn sizes(pairs: &[(&str, usize)]) -> Sizes {
        pairs.iter().map(|&(symbol, size)| (symbol.to_string(), size)).collect()
    }

    fn profile(name: &str, ranges: &[(&str, usize, usize)]) -> ProfileEntry {
        let range = |&(symbol, min, max): &(&str, usize, usize)| {
            (symbol.to_string(), SizeRange { min, opt: max, max })
        };
        ProfileEntry { name: name.into(), sizes: ranges.iter().map(range).collect() }
    }

    fn bound(ports: &[PortEntry], shapes: &[&[usize]]) -> Result<Sizes, EngineError> {
        let shape_of = |name: &str| {
            let index = ports.iter().position(|port| port.name == name).unwrap();
            shapes[index]
        };
        bind(Submodule::PlannerLm, ports, shape_of)
    }

    #[test]
    fn symbols_are_read_off_plain_and_scaled_axes() {
        let ports = [
            port("bias", &["batch", "1", "tokens", "past+tokens"]),
            port("past_keys", &["27", "batch", "4", "past", "128"]),
            port("frames", &["1", "3", "4*latent_frames", "8*latent_height"]),
        ];
        let shapes: [&[usize]; 3] = [&[2, 1, 7, 7], &[27, 2, 4, 0, 128], &[1, 3, 8, 24]];
        let expected = sizes(&[
            ("batch", 2),
            ("tokens", 7),
            ("past", 0),
            ("latent_frames", 2),
            ("latent_height", 3),
        ]);
        assert_eq!(bound(&ports, &shapes).unwrap(), expected);
    }

    #[test]
    fn sizes_that_disagree_name_the_port() {
        let ports = [port("a", &["tokens"]), port("b", &["past+tokens"]), port("c", &["past"])];
        let error = bound(&ports, &[&[7], &[9], &[3]]).unwrap_err().to_string();
        assert!(error.contains("port b: expected past+tokens, found 9"), "{error}");
        let odd = [port("frames", &["8*latent_height"])];
        assert!(bound(&odd, &[&[23]]).is_err());
    }

    #[test]
    fn only_a_symbol_with_a_factor_is_read_off() {
        assert_eq!(scaled_symbol("8*latent_height"), Some((8, "latent_height")));
        assert_eq!(scaled_symbol("past"), Some((1, "past")));
        for dim in ["", "7", "0*h", "h*w", "4*h*w", "past+tokens", "h-1", "-2*h"] {
            assert_eq!(scaled_symbol(dim), None, "{dim}");
        }
    }

    #[test]
    fn the_smallest_profile_that_holds_every_size_is_chosen() {
        let profiles = [
            profile("720p", &[("tokens", 1, 75_600), ("context", 512, 2048)]),
            profile("480p", &[("tokens", 32_760, 32_760), ("context", 512, 2048)]),
            profile("other", &[("tokens", 1, 40_000)]),
        ];
        let chosen = |tokens, context| {
            choose(&profiles, &sizes(&[("tokens", tokens), ("context", context)]))
        };
        assert_eq!(chosen(32_760, 512), Some(1));
        assert_eq!(chosen(32_761, 640), Some(0));
        assert_eq!(chosen(32_760, 511), None);
        let wanted = sizes(&[("tokens", 80_000)]);
        let error = require(Submodule::Transformer, &profiles[..2], &wanted, "1280x720x81");
        let error = error.unwrap_err().to_string();
        for words in [
            "transformer: no profile for tokens 80000",
            "480p (context 512–2048, tokens 32760)",
            "--workload 1280x720x81",
        ] {
            assert!(error.contains(words), "{error}");
        }
    }
}
