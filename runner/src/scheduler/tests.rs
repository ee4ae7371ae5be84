use super::*;

const UNIPC_40: [f32; 40] = [
    999., 994., 989., 983., 978., 972., 965., 959., 952., 944., 937., 929., 920., 911., 902., 892.,
    882., 870., 859., 846., 833., 818., 803., 786., 768., 749., 728., 706., 681., 654., 624., 591.,
    555., 514., 468., 416., 356., 288., 208., 113.,
];

fn unipc(steps: usize) -> Scheduler {
    Scheduler::new(SchedulerKind::UniPc, steps, 5.0).unwrap()
}

#[test]
fn the_released_grid_has_17_high_noise_steps_of_40() {
    let scheduler = unipc(40);
    assert_eq!(scheduler.timesteps(), UNIPC_40);
    let high = (0..40).filter(|&i| scheduler.is_high_noise(i, DEFAULT_BOUNDARY_RATIO)).count();
    assert_eq!(high, 17);
    assert_eq!(scheduler.sigma(40), 0.0);
}

#[test]
fn the_boundary_itself_is_high_noise() {
    let euler = Scheduler::new(SchedulerKind::Euler, 8, 1.0).unwrap();
    assert_eq!(euler.timesteps()[1], 875.0);
    assert!(euler.is_high_noise(1, DEFAULT_BOUNDARY_RATIO));
    assert!(!euler.is_high_noise(2, DEFAULT_BOUNDARY_RATIO));
}

/// With one data point as the whole distribution the velocity is (x − x0) / σ: every solver ends
/// at x0 whatever the number of steps.
#[test]
fn an_exact_model_reaches_its_data() {
    let data = [0.5f32, -1.25, 2.0];
    for kind in [SchedulerKind::UniPc, SchedulerKind::Euler] {
        for steps in [1, 2, 3, 7, 50] {
            let mut scheduler = Scheduler::new(kind, steps, 5.0).unwrap();
            let mut x = [1.0f32, 0.3, -0.7];
            for i in 0..steps {
                let sigma = scheduler.sigma(i);
                let velocity: Vec<f32> =
                    x.iter().zip(data).map(|(x, data)| (x - data) / sigma).collect();
                scheduler.step(i, &velocity, &mut x).unwrap();
            }
            for (x, data) in x.iter().zip(data) {
                assert!((x - data).abs() < 1e-5, "{kind:?}, {steps} steps: {x} {data}");
            }
        }
    }
}

#[test]
fn steps_outside_the_training_range_are_refused() {
    for found in [0, 1001, usize::MAX] {
        let error = Scheduler::new(SchedulerKind::UniPc, found, 5.0).err();
        assert_eq!(error, Some(SchedulerError::Steps { found }));
    }
    assert!(Scheduler::new(SchedulerKind::UniPc, 1000, 5.0).is_ok());
}

#[test]
fn useless_flow_shifts_are_refused() {
    for flow_shift in [0.0, -5.0, f64::NAN, f64::INFINITY] {
        let error = Scheduler::new(SchedulerKind::Euler, 4, flow_shift).err();
        assert!(matches!(error, Some(SchedulerError::FlowShift { .. })), "{flow_shift}");
    }
    for flow_shift in [1e12, 1e-300] {
        let error = Scheduler::new(SchedulerKind::UniPc, 4, flow_shift).err();
        assert!(matches!(error, Some(SchedulerError::Grid { steps: 4, .. })), "{flow_shift}");
    }
}

#[test]
fn steps_run_once_and_in_order() {
    let mut scheduler = unipc(2);
    let mut x = [1.0];
    let order = |expected, found| Err(SchedulerError::Order { expected, found });
    assert_eq!(scheduler.step(1, &[0.0], &mut x), order(0, 1));
    scheduler.step(0, &[0.0], &mut x).unwrap();
    assert_eq!(scheduler.step(0, &[0.0], &mut x), order(1, 0));
    scheduler.step(1, &[0.0], &mut x).unwrap();
    assert_eq!(scheduler.step(2, &[0.0], &mut x), order(2, 2));
}

#[test]
fn lengths_must_agree_within_and_across_steps() {
    let mut scheduler = unipc(3);
    let length = |expected, found| Err(SchedulerError::Length { expected, found });
    assert_eq!(scheduler.step(0, &[0.0; 2], &mut [0.0; 3]), length(3, 2));
    scheduler.step(0, &[0.0; 3], &mut [0.0; 3]).unwrap();
    assert_eq!(scheduler.step(1, &[0.0; 4], &mut [0.0; 4]), length(3, 4));
}
