//! What lies in the directory: segments of lines, and beside each an index by which they come back exactly.
//!
//! | file | what it is |
//! |---|---|
//! | `name` | how segments are called |
//! | `utc` | dates and times in those names |
//! | `index` | an entry for each record: where it lies, its checksum, whose it is, since when |
//! | `listing` | the segments of a directory, in their order |
//! | `reader` | records out of a segment, also of a compressed one |

pub mod index;
pub mod listing;
pub mod name;
pub mod reader;
pub mod utc;
