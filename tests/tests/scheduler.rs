//! Both schedulers against diffusers 0.35.2: grids, and the state after every step of runs over
//! 1 to 50 steps whose model is v = v_i + 0.3·x.

#![allow(clippy::unwrap_used)]

use bernini_runner::scheduler::{Scheduler, SchedulerKind};
use bernini_tests::{Golden, relative_l2};
use ndarray::Ix3;

const STEPS: [usize; 6] = [1, 2, 6, 7, 40, 50];

fn largest_error(kind: SchedulerKind, name: &str) -> f64 {
    let golden = Golden::load("unipc");
    let mut largest = 0.0f64;
    for steps in STEPS {
        let expected = golden.output::<Ix3>(&format!("{name}_{steps}"));
        assert_eq!(expected.dim().0, steps);
        let mut scheduler = Scheduler::new(kind, steps, 5.0).unwrap();
        let mut x: Vec<f32> = golden.input("x").iter().copied().collect();
        for (i, expected) in expected.outer_iter().enumerate() {
            let v = golden.input(&format!("v{i}"));
            let velocity: Vec<f32> = v.iter().zip(&x).map(|(v, x)| v + 0.3 * x).collect();
            scheduler.step(i, &velocity, &mut x).unwrap();
            largest = largest.max(relative_l2(&x, expected.as_slice().unwrap()));
        }
    }
    largest
}

#[test]
fn unipc_follows_diffusers() {
    assert!(largest_error(SchedulerKind::UniPc, "unipc") < 3e-6);
}

#[test]
fn euler_follows_the_reference() {
    assert!(largest_error(SchedulerKind::Euler, "euler") < 1e-6);
}

#[test]
fn grids_are_those_of_the_reference() {
    let golden = Golden::load("unipc");
    for steps in STEPS {
        let grid = &golden.json["grids"][steps.to_string()];
        let list = |name: &str| -> Vec<f32> { serde_json::from_value(grid[name].clone()).unwrap() };
        let unipc = Scheduler::new(SchedulerKind::UniPc, steps, 5.0).unwrap();
        let euler = Scheduler::new(SchedulerKind::Euler, steps, 5.0).unwrap();
        assert_eq!(unipc.timesteps(), list("timesteps"));
        assert_eq!(euler.timesteps(), list("euler_timesteps"));
        let sigmas = |s: &Scheduler| -> Vec<f32> { (0..=steps).map(|i| s.sigma(i)).collect() };
        assert_eq!(sigmas(&unipc), list("sigmas"));
        assert_eq!(sigmas(&euler), list("euler_sigmas"));
    }
}
