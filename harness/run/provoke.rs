//! A panic on demand. No input is known that makes a cell panic, and what becomes of one must still be seen from
//! outside: `HARNESS_PROVOKE_PANIC=ARM`, an arm as it is printed, makes that arm panic when it is applied.

use harness_core::Arm;
use harness_methods::prune::{Needs, PruneError, Pruner, Site};
use harness_methods::statistics::LinearStatistics;
use rand_chacha::ChaCha8Rng;

/// Names the arm that panics.
const VARIABLE: &str = "HARNESS_PROVOKE_PANIC";

/// The method itself, or one that panics where the environment asks for it.
pub(crate) fn provoked(arm: &Arm, pruner: Box<dyn Pruner>) -> Box<dyn Pruner> {
    match std::env::var(VARIABLE) {
        Ok(wanted) if wanted == arm.to_string() => Box::new(Panicking),
        _ => pruner,
    }
}

struct Panicking;

impl Pruner for Panicking {
    fn needs(&self) -> Needs {
        Needs::NOTHING
    }

    fn prune(
        &self,
        site: &Site,
        _: &mut [f32],
        _: Option<&LinearStatistics>,
        _: Option<usize>,
        _: &mut ChaCha8Rng,
    ) -> Result<(), PruneError> {
        panic!("{VARIABLE} asked for a panic in {}", site.name)
    }
}
