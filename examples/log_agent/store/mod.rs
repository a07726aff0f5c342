//! What lies in the directory: segments of lines, and beside each an index by which they come back exactly. And two
//! files of the agent's.
//!
//! | file | what it is |
//! |---|---|
//! | `name` | how segments are called |
//! | `utc` | dates and times in those names |
//! | `index` | runs of records: where they lie, their checksums, whose they are, since when |
//! | `runs` | runs out of an index, also of a damaged one |
//! | `cut` | where a segment whose end is torn is cut, with its index |
//! | `rebuild` | an index made anew, from what can be believed of the old one |
//! | `listing` | the segments of a directory, in their order |
//! | `reader` | records out of a segment, also of a compressed one |

pub mod cut;
pub mod index;
pub mod listing;
pub mod name;
pub mod reader;
pub mod rebuild;
pub mod runs;
pub mod utc;

/// Locked by the one agent that writes to a directory.
pub const LOCK_FILE: &str = "log_agent.lock";
/// Remembers the number of the newest segment across restarts, also when all segments were deleted.
pub const STATE_FILE: &str = "log_agent.state";
