//! Reads plans ahead: while the GPU takes in one engine and works with it, the next one's plan is
//! read and hashed, so that a load waits for the slower of disk and GPU and not for both.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Instant;

use bernini_graphs::Submodule;
use bernini_graphs::engines::EngineEntry;

use super::EngineError;
use super::checks::read_plan;
use crate::engines::Engines;

/// A plan that has the size and the hash of the manifest.
#[derive(Debug)]
pub(super) struct Plan {
    pub bytes: Vec<u8>,
    /// Seconds of reading and hashing, waiting for nobody.
    pub read_seconds: f64,
}

/// The plans of a folder.
pub(super) struct Plans {
    engines: Engines,
    ahead: RefCell<Ahead>,
}

/// Plans on their way, in the order of `expected`; of those, one at most waits in memory.
#[derive(Default)]
struct Ahead {
    expected: VecDeque<Submodule>,
    plans: Option<Receiver<Result<Plan, EngineError>>>,
}

impl Plans {
    pub(super) fn new(engines: Engines) -> Self {
        Self { engines, ahead: RefCell::default() }
    }

    /// Begins to read the plans of engines that will be asked for in this order.
    pub(super) fn expect(&self, submodules: impl IntoIterator<Item = Submodule>) {
        let known = |&submodule: &Submodule| self.engines.engine(submodule).is_some();
        let expected: VecDeque<_> = submodules.into_iter().filter(known).collect();
        let (engines, order) = (self.engines.clone(), expected.clone());
        // Without room for a message, the reader holds one plan until somebody takes it.
        let (sender, receiver) = sync_channel(0);
        thread::spawn(move || {
            for submodule in order {
                let Some(entry) = engines.engine(submodule) else { break };
                // Nobody waits any more once the order was another one.
                if sender.send(read(&engines, entry)).is_err() {
                    break;
                }
            }
        });
        self.ahead.replace(Ahead { expected, plans: Some(receiver) });
    }

    /// The plan of `submodule`, whose entry is `entry`.
    ///
    /// # Errors
    /// A file that is not there, or is not what the manifest says.
    pub(super) fn take(
        &self,
        submodule: Submodule,
        entry: &EngineEntry,
    ) -> Result<Plan, EngineError> {
        let mut ahead = self.ahead.borrow_mut();
        if ahead.expected.pop_front() == Some(submodule) {
            let coming = ahead.plans.as_ref().and_then(|plans| plans.recv().ok());
            if let Some(plan) = coming {
                return plan;
            }
        }
        *ahead = Ahead::default();
        read(&self.engines, entry)
    }
}

fn read(engines: &Engines, entry: &EngineEntry) -> Result<Plan, EngineError> {
    let start = Instant::now();
    let bytes = read_plan(&engines.path(&entry.plan), &entry.plan)?;
    Ok(Plan { bytes, read_seconds: start.elapsed().as_secs_f64() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use Submodule::{TextEncoder, Transformer, Transformer2, VaeDecoderFirst, Vision};

    use super::super::testing::EngineFolder;
    use super::*;

    fn take(plans: &Plans, made: &EngineFolder, submodule: Submodule) -> String {
        let plan = plans.take(submodule, &made.manifest.engines[submodule.stem()]).unwrap();
        String::from_utf8(plan.bytes).unwrap()
    }

    #[test]
    fn plans_come_as_expected_or_not() {
        let made = EngineFolder::new();
        let plans = Plans::new(Engines::open(made.path()).unwrap());
        let get = |submodule| take(&plans, &made, submodule);
        assert_eq!(get(Transformer), "transformer");
        // The folder is renderer-only: it has no vision tower to read.
        plans.expect([TextEncoder, Vision, Transformer, Transformer2]);
        assert_eq!([get(TextEncoder), get(Transformer)], ["text_encoder", "transformer"]);
        assert_eq!(
            [get(VaeDecoderFirst), get(Transformer2)],
            ["vae_decoder_first", "transformer_2"]
        );
        plans.expect([TextEncoder]);
        plans.expect([Transformer]);
        assert_eq!([get(Transformer), get(TextEncoder)], ["transformer", "text_encoder"]);
    }

    #[test]
    fn a_damaged_plan_is_refused_when_it_is_asked_for() {
        let made = EngineFolder::new();
        fs::write(made.plan(Transformer).0, b"transformex").unwrap();
        let plans = Plans::new(Engines::open(made.path()).unwrap());
        plans.expect([TextEncoder, Transformer, Transformer2]);
        assert_eq!(take(&plans, &made, TextEncoder), "text_encoder");
        let error = plans.take(Transformer, &made.manifest.engines["transformer"]).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
        assert_eq!(take(&plans, &made, Transformer2), "transformer_2");
    }
}
