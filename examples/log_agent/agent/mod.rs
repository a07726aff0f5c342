//! The agent, without its command line: from records on a connection to bytes on a disk.
//!
//! ```text
//! connection -> collector -> batch -> queue -> writer -> lane -> segment -> disk
//!                  ^                             |
//!                  '---- link: gate, news -------'
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `plan` | what was asked for, and what it takes |
//! | `collector` | the `MessageProcessor`: records into batches, batches to writers |
//! | `framing` | the wire: a message is a run of records |
//! | `tag` | what a batch knows of its records |
//! | `acks` | which sender is told what, and when |
//! | `link` | what the collector and the writers share |
//! | `writer`, `writers` | a group of batches onto the disk, and the threads that do so |
//! | `lane` | the records of a group that go into one kind of segment |
//! | `gather` | those of them that are written at once |
//! | `segment` | the one that is being written, and how it is cut |
//! | `fsync` | when records are forced to disk |
//! | `directory` | what all writers share about the directory |
//! | `lock` | that no other agent writes there |
//! | `numbering`, `space` | names of segments, and how much there may be |
//! | `disk` | the seam to the operating system |
//! | `recovery` | what a crash has left |
//! | `compress` | finished segments, packed |
//! | `numbers`, `pauses`, `metrics` | what is counted, and who may see it |

pub mod acks;
pub mod collector;
pub mod compress;
pub mod descriptors;
pub mod directory;
pub mod disk;
pub mod framing;
pub mod fsync;
pub mod gather;
pub mod lane;
pub mod link;
pub mod lock;
pub mod metrics;
pub mod numbering;
pub mod numbers;
pub mod oldest;
pub mod pauses;
pub mod plan;
pub mod recovery;
pub mod run;
pub mod segment;
pub mod space;
pub mod tag;
pub mod vain;
pub mod writer;
pub mod writers;
