//! What the servers of this crate share: where they listen, and the protocols as the bare loops speak them.

#![forbid(unsafe_code)]

pub mod connection;
pub mod start;
pub mod wire;

/// What a GET of `/plaintext` is answered with.
pub const HELLO: &str = "Hello, World!";
/// The longest body that a server takes.
pub const BODY_MAX: usize = 2 << 20;
