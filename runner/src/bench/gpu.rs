//! Power and clocks of the GPU while it works, through NVML where there is one.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use serde::Serialize;

/// How often the GPU is asked.
const PERIOD: Duration = Duration::from_millis(20);

/// What the GPU did during some runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GpuUse {
    /// How often it was asked; power is the driver's own average over its last moments, so few
    /// samples say little.
    pub samples: usize,
    /// Mean power in watts.
    pub mean_watts: f64,
    /// Highest power in watts.
    pub max_watts: f64,
    /// Mean clock of the multiprocessors in MHz.
    pub mean_mhz: f64,
    /// Lowest clock of the multiprocessors in MHz.
    pub min_mhz: f64,
    /// Highest temperature in °C.
    pub max_celsius: f64,
    /// Share of the samples in which the power limit held the clocks down.
    pub power_capped_share: f64,
}

/// One look at the GPU.
#[derive(Clone, Copy, Debug)]
struct Sample {
    watts: f64,
    mhz: f64,
    celsius: f64,
    power_capped: bool,
}

/// Asks a GPU again and again while something runs.
pub struct GpuMeter {
    read: Box<dyn Fn() -> Option<Sample> + Send + Sync>,
}

impl GpuMeter {
    /// The GPU that the engines run on; `None` without NVML, or where it does not tell.
    pub fn open() -> Option<Self> {
        let nvml = Nvml::init().ok()?;
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
        let meter = Self { read: Box::new(move || sample(&nvml, &visible)) };
        (meter.read)().map(|_| meter)
    }

    /// Runs `work` and says what the GPU did meanwhile.
    pub fn watch<T>(&self, work: impl FnOnce() -> T) -> (T, Option<GpuUse>) {
        thread::scope(|scope| {
            let (stop, stopped) = mpsc::channel::<()>();
            let sampling = scope.spawn(move || {
                let mut samples = vec![];
                loop {
                    samples.extend((self.read)());
                    if stopped.recv_timeout(PERIOD) != Err(mpsc::RecvTimeoutError::Timeout) {
                        return samples;
                    }
                }
            });
            let result = work();
            drop(stop);
            let samples = sampling.join().unwrap_or_default();
            (result, summary(&samples))
        })
    }
}

/// The first GPU of CUDA_VISIBLE_DEVICES: a number or a UUID; without it the first one. CUDA and
/// NVML number GPUs of one kind alike.
fn sample(nvml: &Nvml, visible: &str) -> Option<Sample> {
    let first = visible.split(',').next().unwrap_or_default().trim();
    let device = match first.parse() {
        Ok(index) => nvml.device_by_index(index),
        Err(_) if first.is_empty() => nvml.device_by_index(0),
        Err(_) => nvml.device_by_uuid(first),
    };
    let device = device.ok()?;
    let throttled = device.current_throttle_reasons().unwrap_or(ThrottleReasons::NONE);
    Some(Sample {
        watts: f64::from(device.power_usage().ok()?) / 1e3,
        mhz: f64::from(device.clock_info(Clock::SM).ok()?),
        celsius: f64::from(device.temperature(TemperatureSensor::Gpu).ok()?),
        power_capped: throttled.contains(ThrottleReasons::SW_POWER_CAP),
    })
}

fn summary(samples: &[Sample]) -> Option<GpuUse> {
    let count = samples.len() as f64;
    let mean = |value: fn(&Sample) -> f64| samples.iter().map(value).sum::<f64>() / count;
    let most = |value: fn(&Sample) -> f64| samples.iter().map(value).reduce(f64::max);
    Some(GpuUse {
        samples: samples.len(),
        mean_watts: mean(|sample| sample.watts),
        max_watts: most(|sample| sample.watts)?,
        mean_mhz: mean(|sample| sample.mhz),
        min_mhz: samples.iter().map(|sample| sample.mhz).reduce(f64::min)?,
        max_celsius: most(|sample| sample.celsius)?,
        power_capped_share: mean(|sample| f64::from(u8::from(sample.power_capped))),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A GPU that draws 500 W, and how often it was asked.
    fn meter() -> (GpuMeter, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let read = move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Some(Sample { watts: 500.0, mhz: 1000.0, celsius: 50.0, power_capped: false })
        };
        (GpuMeter { read: Box::new(read) }, asked)
    }

    #[test]
    fn what_the_gpu_did_is_summed_up() {
        let samples = [(600.0, 1980.0, false), (700.0, 1500.0, true)]
            .map(|(w, m, power_capped)| Sample { watts: w, mhz: m, celsius: 60.0, power_capped });
        let expected = GpuUse {
            samples: 2,
            mean_watts: 650.0,
            max_watts: 700.0,
            mean_mhz: 1740.0,
            min_mhz: 1500.0,
            max_celsius: 60.0,
            power_capped_share: 0.5,
        };
        assert_eq!(summary(&samples), Some(expected));
    }

    #[test]
    fn it_is_asked_at_least_once_and_until_the_work_is_done() {
        let (result, seen) = meter().0.watch(|| 7);
        assert_eq!((result, seen.unwrap().mean_watts), (7, 500.0));
        let (meter, asked) = meter();
        let (_, seen) = meter.watch(|| {
            while asked.load(Ordering::Relaxed) < 3 {
                thread::yield_now();
            }
        });
        assert!(seen.unwrap().samples >= 3);
    }

    #[test]
    fn a_gpu_that_does_not_tell_is_no_error() {
        assert_eq!(GpuMeter { read: Box::new(|| None) }.watch(|| ()).1, None);
    }
}
