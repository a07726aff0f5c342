//! Where simulated time begins.

use std::time::Instant;

/// Some moment from which the simulated clock counts. An `Instant` can't be made out of nothing; which one it is does
/// not matter, because a simulation only looks at differences.
pub(super) fn start() -> Instant {
    Instant::now()
}

/// The second since 1970 at which every simulation begins: Sun, 06 Nov 1994 08:49:37 GMT, the date in all RFCs.
pub(super) const START_UNIX_SECONDS: u64 = 784_111_777;
