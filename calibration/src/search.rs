//! Which layers can run in FP8 within an error budget: the order in which groups of layers are worth
//! it, and the longest part of that order which keeps the budget.
//!
//! Roundings of different groups are independent, so their errors add as squares: of groups that
//! save equal work the one with the smaller square comes first, and those that would take a step
//! beyond the budget come after those that do not, as every expert spends the budget of its own
//! steps. That sum only says where to look; what counts is measured on all groups at once.

pub use crate::groups::{Group, groups};

/// What a group costs and saves.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensitivity {
    /// The group.
    pub group: Group,
    /// Relative L2 of every step with this group alone in FP8.
    pub errors: Vec<f64>,
    /// FLOPs of a request that run in FP8 with it.
    pub flops: f64,
}

impl Sensitivity {
    /// The worst step.
    pub fn error(&self) -> f64 {
        worst(&self.errors)
    }
}

/// The largest of these errors; infinite where one is not a number.
pub fn worst(errors: &[f64]) -> f64 {
    errors.iter().map(|&x| if x.is_nan() { f64::INFINITY } else { x }).fold(0.0, f64::max)
}

/// Puts first what saves the most work for the square of its error, and of that what keeps `budget`
/// with what is before it; gives the number of the latter.
pub fn order(groups: &mut Vec<Sensitivity>, budget: f64) -> usize {
    let cost = |group: &Sensitivity| match group.flops {
        flops if flops > 0.0 => group.error().powi(2) / flops,
        _ => f64::INFINITY,
    };
    groups.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    let (mut within, mut beyond) = (vec![], vec![]);
    for group in groups.drain(..) {
        within.push(group);
        if predicted(&within) > budget {
            beyond.extend(within.pop());
        }
    }
    let fitting = within.len();
    groups.extend(within.into_iter().chain(beyond));
    fitting
}

/// The error of the worst step with all of `groups` in FP8, if their roundings are independent.
pub fn predicted(groups: &[Sensitivity]) -> f64 {
    let steps = groups.iter().map(|group| group.errors.len()).max().unwrap_or_default();
    let square = |step: usize| {
        groups.iter().filter_map(|group| group.errors.get(step)).map(|x| x * x).sum::<f64>()
    };
    worst(&(0..steps).map(|step| square(step).sqrt()).collect::<Vec<_>>())
}

/// The most of `count` groups whose error `measure` finds within `budget`, by bisection that starts
/// at `guess`; none have the error 0.
///
/// # Errors
/// Those of `measure`.
pub fn most_within<E>(
    count: usize,
    guess: usize,
    budget: f64,
    mut measure: impl FnMut(usize) -> Result<f64, E>,
) -> Result<usize, E> {
    let (mut within, mut beyond) = (0, count + 1);
    let mut next = guess;
    while beyond - within > 1 {
        let middle = next.clamp(within + 1, beyond - 1);
        match measure(middle)? <= budget {
            true => within = middle,
            false => beyond = middle,
        }
        next = within + (beyond - within) / 2;
    }
    Ok(within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::tests::table;

    fn sensitivity(flops: f64, errors: &[f64]) -> Sensitivity {
        let group = groups(&table(), 99).swap_remove(0);
        Sensitivity { group, errors: errors.into(), flops }
    }

    #[test]
    fn errors_of_one_step_add_as_squares_and_the_worst_step_counts() {
        let groups = [sensitivity(1.0, &[0.03, 0.0]), sensitivity(1.0, &[0.04, 0.01])];
        assert!((predicted(&groups) - 0.05).abs() < 1e-12);
        assert_eq!(predicted(&[]), 0.0);
        assert_eq!(predicted(&[sensitivity(1.0, &[f64::NAN])]), f64::INFINITY);
    }

    #[test]
    fn what_saves_more_for_its_error_comes_first_and_what_saves_nothing_last() {
        let mut groups = vec![
            sensitivity(0.0, &[0.001]),
            sensitivity(1.0, &[0.02]),
            sensitivity(8.0, &[0.04]),
            sensitivity(8.0, &[f64::NAN]),
        ];
        order(&mut groups, f64::INFINITY);
        let flops: Vec<_> = groups.iter().map(|group| group.flops).collect();
        assert_eq!(flops[..2], [8.0, 1.0]);
        assert_eq!(groups[0].error(), 0.04);
    }

    #[test]
    fn a_group_that_is_too_much_for_its_steps_does_not_keep_back_those_of_others() {
        let mut groups = vec![
            sensitivity(8.0, &[0.04, 0.0]),
            sensitivity(7.0, &[0.05, 0.0]),
            sensitivity(6.0, &[0.0, 0.05]),
            sensitivity(5.0, &[0.0, 0.07]),
            sensitivity(1.0, &[0.03, 0.0]),
        ];
        assert_eq!(order(&mut groups, 0.06), 3);
        let flops: Vec<_> = groups.iter().map(|group| group.flops).collect();
        assert_eq!(flops, [8.0, 6.0, 1.0, 7.0, 5.0]);
        assert_eq!(order(&mut groups, 0.01), 0);
    }

    #[test]
    fn bisection_finds_the_last_count_within_the_budget_from_any_guess() {
        for last in 0..=9 {
            for guess in 0..=12 {
                let mut runs = 0;
                let found = most_within(9, guess, 0.5, |count| {
                    runs += 1;
                    assert!((1..=9).contains(&count));
                    Ok::<_, ()>(if count <= last { 0.5 } else { 0.6 })
                });
                assert_eq!(found, Ok(last));
                assert!(runs <= 5, "{runs}");
            }
        }
        assert_eq!(most_within(2, 1, 1.0, |_| Err("stopped")), Err("stopped"));
        assert_eq!(most_within(2, 2, 1.0, |_| Ok::<_, ()>(f64::NAN)), Ok(0));
    }
}
