//! A report made up for tests.

use bernini_graphs::manifest::{PrecisionName, Variant};

use super::{BenchReport, Clip, ColdStart, GpuUse, Layer, Machine, Peers, Shape, Timing, jobs};
use crate::package::Identity;

/// A small clip on a folder without `transformer_2`: every run takes 1, 2 and 3 ms at 4 GFLOP, the
/// peers reach 8 TFLOP/s and know two works; layers of the other expert.
pub(super) fn report() -> BenchReport {
    let clip = Clip { width: 64, height: 32, frames: 5 };
    let shape = Shape { name: "small".into(), target: clip, sources: vec![] };
    let (all, steps) = jobs(&shape, None, 0.875).unwrap();
    let timed = all.iter().filter(|job| job.submodule.stem() != "transformer_2");
    let timings = timed.map(|job| {
        let mut timing = Timing::new(job, [0, 4_000_000_000, 0], vec![3.0, 1.0, 2.0]);
        if job.submodule.stem() == "transformer" {
            let layer =
                |name: &str, kind, milliseconds| Layer { name: name.into(), kind, milliseconds };
            timing.layers = vec![
                layer("q", "FP8 products", 0.25),
                layer("attention", "attention", 1.25),
                layer("up", "FP8 products", 0.5),
            ];
            timing.cold = Some(ColdStart { load_seconds: 0.5, first_run_milliseconds: 40.0 });
            timing.gpu = Some(GpuUse {
                samples: 9,
                mean_watts: 650.4,
                max_watts: 701.0,
                mean_mhz: 1740.0,
                min_mhz: 1500.0,
                max_celsius: 60.0,
                power_capped_share: 0.5,
            });
        }
        timing
    });
    let identity = Identity {
        folder: "export".into(),
        source: "made up".into(),
        variant: Variant::Renderer,
        precision: PrecisionName::F32,
        policy: None,
        uncalibrated: false,
        balance: None,
        gpu: None,
        tensorrt: None,
    };
    let machine = Machine { identity, command: "bernini bench".into() };
    let peer = |work: &str, ms: f64| {
        let peers = [("eager".to_string(), 2.0 * ms), ("compile".to_string(), ms)];
        (work.to_string(), peers.into())
    };
    let peers = Peers {
        versions: "torch 2".into(),
        bf16_tflops: 8.0,
        fp8_tflops: 16.0,
        milliseconds: [peer("transformer tokens=16", 4.0), peer("vae-decode small", 9.0)].into(),
    };
    BenchReport::new(&shape, machine, Some(peers), timings.collect(), &(all.clone(), steps))
}
