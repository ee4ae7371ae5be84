//! Which engines stay on the GPU: all of them while there is room, the last used ones otherwise.

use bernini_graphs::Submodule;

/// A loaded engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resident {
    /// Which one.
    pub submodule: Submodule,
    /// Bytes that unloading it frees.
    pub bytes: u64,
    /// When it was last asked for; larger is later.
    pub last_used: u64,
    /// Whether a session uses it.
    pub in_use: bool,
}

/// The engines to unload so that `needed` bytes fit where `available` are free: those that no
/// session uses, the longest unused first.
///
/// # Errors
/// The bytes that would be free if all idle engines were unloaded, where even that is too little.
pub(super) fn evictions(
    residents: &[Resident],
    needed: u64,
    available: u64,
) -> Result<Vec<Submodule>, u64> {
    let mut idle: Vec<_> = residents.iter().filter(|resident| !resident.in_use).collect();
    idle.sort_by_key(|resident| resident.last_used);
    let (mut free, mut unload) = (available, vec![]);
    for resident in idle {
        if free >= needed {
            break;
        }
        free = free.saturating_add(resident.bytes);
        unload.push(resident.submodule);
    }
    if free >= needed { Ok(unload) } else { Err(free) }
}

/// Bytes that may still be allocated: what the GPU has free, within `limit` for this process, which
/// holds `used`.
pub(super) fn available(free: u64, used: u64, limit: Option<u64>) -> u64 {
    limit.map_or(free, |limit| free.min(limit.saturating_sub(used)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident(submodule: Submodule, bytes: u64, last_used: u64, in_use: bool) -> Resident {
        Resident { submodule, bytes, last_used, in_use }
    }

    #[test]
    fn what_fits_evicts_nothing_and_the_longest_unused_goes_first() {
        let residents = [
            resident(Submodule::Transformer, 28, 3, false),
            resident(Submodule::TextEncoder, 11, 1, false),
            resident(Submodule::TransformerContext, 2, 4, true),
            resident(Submodule::PlannerLm, 14, 2, false),
        ];
        assert_eq!(evictions(&residents, 5, 5), Ok(vec![]));
        assert_eq!(evictions(&residents, 16, 5), Ok(vec![Submodule::TextEncoder]));
        let two = vec![Submodule::TextEncoder, Submodule::PlannerLm];
        assert_eq!(evictions(&residents, 17, 5), Ok(two));
        assert_eq!(evictions(&residents, 58, 5).map(|unload| unload.len()), Ok(3));
        assert_eq!(evictions(&residents, 59, 5), Err(58));
        assert_eq!(evictions(&[], u64::MAX, 7), Err(7));
    }

    #[test]
    fn a_limit_counts_what_is_held_already() {
        assert_eq!(available(90, 20, None), 90);
        assert_eq!(available(90, 20, Some(60)), 40);
        assert_eq!(available(30, 20, Some(60)), 30);
        assert_eq!(available(90, 70, Some(60)), 0);
    }
}
