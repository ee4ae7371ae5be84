//! The report as the tables that README quotes.

use std::fmt::Write;

use super::statistics::Estimate;
use super::{BenchReport, Machine, StageTime, Timing};

impl BenchReport {
    /// Tables: stages of a request, every submodule, what starting costs, where the time goes.
    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n{}\n\n", self.workload, self.machine.describe());
        if let Some(peers) = &self.peers {
            let (bf16, fp8) = (peers.bf16_tflops, peers.fp8_tflops);
            let versions = &peers.versions;
            let _ = writeln!(
                text,
                "Peers in the same run: {versions}; matrix products reach {bf16:.0} TFLOP/s in \
                 bf16 and {fp8:.0} in FP8.\n"
            );
        }
        text.push_str("| stage, composed from the medians below | s | s/step | of the roofline | ");
        text.push_str("PyTorch, s |\n|---|---:|---:|---:|---:|\n");
        self.stages.iter().for_each(|stage| stage_row(&mut text, stage));
        let total = number(self.seconds(), 2);
        let _ = writeln!(text, "| whole request | {total} | | | |\n");
        text.push_str("| submodule, warm | runs | p50 ms (95 %) | p90 ms | p99 ms | TFLOP/s | ");
        text.push_str(
            "of the roofline | PyTorch, ms |\n|---|---:|---:|---:|---:|---:|---:|---:|\n",
        );
        self.timings.iter().for_each(|timing| timing_row(&mut text, timing));
        if self.timings.iter().any(|timing| timing.cold.is_some()) {
            text.push_str("\n| submodule, first time | load s | first run ms |\n|---|---:|---:|\n");
        }
        self.timings.iter().for_each(|timing| cold_row(&mut text, timing));
        self.gpu(&mut text);
        self.timings.iter().for_each(|timing| kinds(&mut text, timing));
        text
    }

    /// Memory, and the power and clocks of the measured runs.
    fn gpu(&self, text: &mut String) {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let host = gib(self.peak_memory_bytes);
        let gpu = self.peak_gpu_memory_bytes;
        let gpu = gpu.map_or(String::new(), |bytes| format!("{:.1} GiB on the GPU, ", gib(bytes)));
        let _ = writeln!(text, "\nPeak memory: {gpu}{host:.1} GiB in the process.");
        let watched = || self.timings.iter().filter_map(|t| Some((&t.name, t.gpu.as_ref()?)));
        if watched().next().is_none() {
            return;
        }
        text.push_str("\n| submodule, warm | W mean | W max | MHz mean | MHz min | °C max | ");
        text.push_str("at the power limit | samples |\n|---|---:|---:|---:|---:|---:|---:|---:|\n");
        for (name, gpu) in watched() {
            let _ = writeln!(
                text,
                "| {name} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} % | {} |",
                gpu.mean_watts,
                gpu.max_watts,
                gpu.mean_mhz,
                gpu.min_mhz,
                gpu.max_celsius,
                100.0 * gpu.power_capped_share,
                gpu.samples
            );
        }
    }
}

/// Medians of every work on every folder, where reports are of several folders.
pub fn matrix(reports: &[BenchReport]) -> Option<String> {
    let mut folders: Vec<&Machine> = vec![];
    for BenchReport { machine, .. } in reports {
        if folders.iter().all(|known| known.identity.folder != machine.identity.folder) {
            folders.push(machine);
        }
    }
    if folders.len() < 2 {
        return None;
    }
    let names = folders.iter().map(|machine| format!(" {}, ms |", machine.label(reports)));
    let mut text = format!("### Medians\n\n| work |{}\n|---|", names.collect::<String>());
    let _ = writeln!(text, "{}", "---:|".repeat(folders.len()));
    let mut works: Vec<(&str, &str)> = vec![];
    for report in reports {
        for timing in &report.timings {
            let work = (report.workload.as_str(), timing.name.as_str());
            if !works.contains(&work) {
                works.push(work);
            }
        }
    }
    for (workload, name) in works {
        let _ = write!(text, "| {workload} {name} |");
        for machine in &folders {
            let same = |report: &&BenchReport| {
                report.workload == workload
                    && report.machine.identity.folder == machine.identity.folder
            };
            let timings = reports.iter().filter(same).flat_map(|report| &report.timings);
            let timing = timings.into_iter().find(|timing| timing.name == name);
            let _ = write!(text, " {} |", number(timing.map(|timing| timing.p50.value), 3));
        }
        text.push('\n');
    }
    Some(text)
}

impl Machine {
    /// What tells its folder from those of other `reports`: precision and policy, and its name where
    /// they do not.
    pub(super) fn label(&self, reports: &[BenchReport]) -> String {
        let folder = &self.identity.folder;
        let same = |report: &BenchReport| {
            let Self { identity, .. } = &report.machine;
            identity.folder != *folder && report.machine.numbers() == self.numbers()
        };
        match (reports.iter().any(same), folder.file_name()) {
            (true, Some(name)) => format!("{} {}", name.to_string_lossy(), self.numbers()),
            _ => self.numbers(),
        }
    }

    /// Precision and policy.
    fn numbers(&self) -> String {
        let precision = self.identity.precision;
        match &self.identity.policy {
            Some(policy) => format!("{precision} {policy}"),
            None => precision.to_string(),
        }
    }

    /// GPU, TensorRT, precision, policy and command in one line.
    pub(super) fn describe(&self) -> String {
        let Self { identity, command } = self;
        let place = match (&identity.gpu, &identity.tensorrt) {
            (Some(gpu), Some(version)) => format!("{}, TensorRT {version}", gpu.name),
            _ => "CPU, ONNX Runtime".into(),
        };
        let scales = if identity.uncalibrated { ", synthetic scales" } else { "" };
        format!("{place}, {}{scales}. `{command}`", self.numbers())
    }
}

fn stage_row(text: &mut String, stage: &StageTime) {
    let per_step = stage.seconds.zip(stage.steps).map(|(seconds, steps)| seconds / steps as f64);
    let (peer, share) = (peer(&stage.peer, 1e-3), share(stage.roofline_share));
    let seconds = number(stage.seconds, 3);
    let per_step = stage.steps.map_or(String::new(), |_| number(per_step, 3));
    let _ = writeln!(text, "| {} | {seconds} | {per_step} | {share} | {peer} |", stage.name);
}

fn timing_row(text: &mut String, timing: &Timing) {
    let Timing { name, runs, p50, p90, p99, .. } = timing;
    let Estimate { value, low, high } = p50;
    let (p90, p99) = (p90.value, p99.value);
    let (rate, share) = (timing.tflops(), share(timing.roofline_share));
    let peer = peer(&timing.peer, 1.0);
    let _ = writeln!(
        text,
        "| {name} | {runs} | {value:.3} ({low:.3}–{high:.3}) | {p90:.3} | {p99:.3} | {rate:.0} | \
         {share} | {peer} |"
    );
}

fn cold_row(text: &mut String, timing: &Timing) {
    if let Some(cold) = timing.cold {
        let (load, run) = (cold.load_seconds, cold.first_run_milliseconds);
        let _ = writeln!(text, "| {} | {load:.3} | {run:.3} |", timing.name);
    }
}

/// Where the time of one run goes.
fn kinds(text: &mut String, timing: &Timing) {
    let kinds = timing.kinds();
    if kinds.is_empty() {
        return;
    }
    let total: f64 = kinds.iter().map(|(_, milliseconds)| milliseconds).sum();
    let _ = writeln!(
        text,
        "\n| {}: one run with the profiler on | ms | share |\n|---|---:|---:|",
        timing.name
    );
    for (kind, milliseconds) in kinds {
        let share = 100.0 * milliseconds / total;
        let _ = writeln!(text, "| {kind} | {milliseconds:.3} | {share:.1} % |");
    }
    let _ = writeln!(text, "| all layers | {total:.3} | |");
}

fn share(share: Option<f64>) -> String {
    share.map_or(String::new(), |share| format!("{:.0} %", 100.0 * share))
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

    use super::super::testing::report;
    use super::matrix;

    #[test]
    fn stages_are_sums_of_medians_and_missing_engines_leave_holes() {
        let report = report();
        let stage = |name: &str| report.stages.iter().find(|stage| stage.name == name).unwrap();
        let decode = stage("vae-decode small");
        // Two chunks of 2 ms, each 4 GFLOP, at best 0.5 ms at 8 TFLOP/s.
        assert_eq!((decode.seconds, decode.roofline_share), (Some(0.004), Some(0.25)));
        let low = stage("dit-low small");
        assert_eq!((low.seconds, low.roofline_share), (None, None));
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
        assert_eq!((high.p50.value, high.p90.value, high.p99.value), (2.0, 2.8, 2.98));
        assert_eq!(high.roofline_share, Some(0.25));
        assert_eq!(high.kinds(), [("attention", 1.25), ("FP8 products", 0.75)]);
        let text = report.markdown();
        for row in [
            "| vae-decode small | 0.004 |  | 25 % | 0.009 (compile) |",
            "| dit-low small | – | – |  |  |",
            "| 42 | 2.000 (1.000–3.000) | 2.800 | 2.980 | 2 | 25 % | 4.000 (compile) |",
            "| transformer context=512 tokens=16 | 0.500 | 40.000 |",
            "| transformer context=512 tokens=16 | 650 | 701 | 1740 | 1500 | 60 | 50 % | 9 |",
            "| FP8 products | 0.750 | 37.5 % |",
        ] {
            assert!(text.contains(row), "no {row:?} in {text}");
        }
    }

    #[test]
    fn a_table_without_rows_is_left_out() {
        let mut report = report();
        assert!(report.markdown().contains("first time"));
        report.timings.iter_mut().for_each(|timing| timing.cold = None);
        assert!(!report.markdown().contains("first time"));
    }

    #[test]
    fn several_folders_make_a_matrix_of_medians() {
        let (cpu, mut gpu) = (report(), report());
        assert_eq!(matrix(&[cpu.clone(), cpu.clone()]), None);
        gpu.machine.identity.folder = "engines".into();
        gpu.machine.identity.precision = PrecisionName::Fp8;
        gpu.machine.identity.policy = Some("all-fp8".into());
        gpu.timings.retain(|timing| timing.name.starts_with("transformer "));
        gpu.timings[0].p50.value = 0.5;
        let mut twin = gpu.clone();
        let text = matrix(&[cpu.clone(), gpu.clone()]).unwrap();
        for row in [
            "| work | f32, ms | fp8 all-fp8, ms |\n|---|---:|---:|",
            "| small transformer context=512 tokens=16 | 2.000 | 0.500 |",
            "| small text_encoder text_tokens=512 | 2.000 | – |",
        ] {
            assert!(text.contains(row), "no {row:?} in {text}");
        }
        twin.machine.identity.folder = "parts/of/others".into();
        let text = matrix(&[cpu, gpu, twin]).unwrap();
        let columns = "| f32, ms | engines fp8 all-fp8, ms | others fp8 all-fp8, ms |";
        assert!(text.contains(columns), "{text}");
    }

    #[test]
    fn what_was_not_measured_has_no_table() {
        let mut report = report();
        report.timings.iter_mut().for_each(|timing| {
            (timing.gpu, timing.layers) = (None, vec![]);
        });
        let text = report.markdown();
        assert!(!text.contains("W mean") && !text.contains("profiler"), "{text}");
    }
}
