//! The processor thread.
mod selector;
pub use selector::{Readiness, Selector};
