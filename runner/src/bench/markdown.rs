//! The report as the tables that README quotes.

use std::fmt::Write;

use super::{BenchReport, StageTime, Timing};

impl BenchReport {
    /// Two tables: stages of a request, and every submodule.
    pub fn markdown(&self) -> String {
        let machine = &self.machine;
        let mut text = format!("### {}\n\n", self.workload);
        let precision = machine.precision;
        let policy = machine.policy.as_ref().map_or(String::new(), |name| format!(", {name}"));
        let place = match (&machine.gpu, &machine.tensorrt) {
            (Some(gpu), Some(version)) => format!("{}, TensorRT {version}", gpu.name),
            _ => "CPU, ONNX Runtime".into(),
        };
        let scales = if machine.uncalibrated { ", synthetic scales" } else { "" };
        let _ = writeln!(text, "{place}, {precision}{policy}{scales}. `{}`\n", machine.command);
        if let Some(peers) = &self.peers {
            let (bf16, fp8) = (peers.bf16_tflops, peers.fp8_tflops);
            let versions = &peers.versions;
            let _ = writeln!(
                text,
                "Peers in the same run: {versions}; matrix products reach {bf16:.0} TFLOP/s in \
                 bf16 and {fp8:.0} in FP8.\n"
            );
        }
        text.push_str("| stage, composed from the medians below | s | s/step | PyTorch, s |\n");
        text.push_str("|---|---:|---:|---:|\n");
        self.stages.iter().for_each(|stage| stage_row(&mut text, stage));
        let total = number(self.seconds(), 2);
        let _ = writeln!(text, "| whole request | {total} | | |\n");
        text.push_str("| submodule | runs | p50 ms | p90 ms | TFLOP/s | of the roofline | ");
        text.push_str("PyTorch, ms |\n|---|---:|---:|---:|---:|---:|---:|\n");
        self.timings.iter().for_each(|timing| timing_row(&mut text, timing));
        text
    }
}

fn stage_row(text: &mut String, stage: &StageTime) {
    let per_step = stage.seconds.zip(stage.steps).map(|(seconds, steps)| seconds / steps as f64);
    let peer = peer(&stage.peer, 1e-3);
    let seconds = number(stage.seconds, 3);
    let per_step = stage.steps.map_or(String::new(), |_| number(per_step, 3));
    let _ = writeln!(text, "| {} | {seconds} | {per_step} | {peer} |", stage.name);
}

fn timing_row(text: &mut String, timing: &Timing) {
    let Timing { name, runs, p50, p90, .. } = timing;
    let share =
        timing.roofline_share.map_or(String::new(), |share| format!("{:.0} %", 100. * share));
    let (rate, peer) = (timing.tflops(), peer(&timing.peer, 1.0));
    let _ =
        writeln!(text, "| {name} | {runs} | {p50:.3} | {p90:.3} | {rate:.0} | {share} | {peer} |");
}

fn peer(peer: &Option<(String, f64)>, unit: f64) -> String {
    peer.as_ref().map_or(String::new(), |(what, ms)| format!("{:.3} ({what})", ms * unit))
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".into(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use bernini_graphs::manifest::PrecisionName;

    use super::super::*;

    fn report() -> BenchReport {
        let clip = Clip { width: 64, height: 32, frames: 5 };
        let shape = Shape { name: "small".into(), target: clip, sources: vec![] };
        let (all, steps) = jobs(&shape, None, 0.875).unwrap();
        let timings = all.iter().filter(|job| job.submodule.stem() != "transformer_2");
        let timings =
            timings.map(|job| Timing::new(job, [0, 4_000_000_000, 0], vec![3.0, 1.0, 2.0], vec![]));
        let machine = Machine {
            gpu: None,
            tensorrt: None,
            precision: PrecisionName::F32,
            policy: None,
            uncalibrated: false,
            command: "bernini bench".into(),
        };
        let milliseconds = [("transformer tokens=16", 4.0), ("vae-decode small", 9.0)];
        let milliseconds = milliseconds.map(|(work, ms)| {
            (
                work.to_string(),
                [("eager".to_string(), 2.0 * ms), ("compile".to_string(), ms)].into(),
            )
        });
        let peers = Peers {
            versions: "torch 2".into(),
            bf16_tflops: 8.0,
            fp8_tflops: 16.0,
            milliseconds: milliseconds.into(),
        };
        BenchReport::new(&shape, machine, Some(peers), timings.collect(), &(all.clone(), steps))
    }

    #[test]
    fn stages_are_sums_of_medians_and_missing_engines_leave_holes() {
        let report = report();
        let stage = |name: &str| report.stages.iter().find(|stage| stage.name == name).unwrap();
        assert_eq!(stage("vae-decode small").seconds, Some(0.004));
        assert_eq!(stage("dit-low small").seconds, None);
        assert_eq!(report.seconds(), None);
        let high = stage("dit-high small");
        assert!((high.seconds.unwrap() - 0.002 * 42.0).abs() < 1e-12);
    }

    #[test]
    fn the_fastest_peer_of_the_same_work_stands_beside_it() {
        let report = report();
        let high = report.timings.iter().find(|t| t.name.starts_with("transformer ")).unwrap();
        assert_eq!(high.name, "transformer context=512 tokens=16");
        assert_eq!(high.peer, Some(("compile".into(), 4.0)));
        assert_eq!((high.p50, high.p90), (2.0, 3.0));
        // 4 GFLOP at 8 TFLOP/s are 0.5 ms of 2.
        assert_eq!(high.roofline_share, Some(0.25));
        let text = report.markdown();
        assert!(text.contains("| vae-decode small | 0.004 |  | 0.009 (compile) |"), "{text}");
        assert!(text.contains("| dit-low small | – | – |  |"), "{text}");
        assert!(text.contains("| 2.000 | 3.000 | 2 | 25 % | 4.000 (compile) |"), "{text}");
    }
}
