//! What lies in the directory: segments of lines, and beside each an index by which they come back exactly.
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
