//! STUB
#![forbid(unsafe_code)]
#![warn(missing_docs)]
pub mod buffer;
pub mod id;
pub mod protocol;
pub mod timer;
