//! Wire formats, sans-IO: no socket, no thread, no clock.
//!
//! [`Protocol`] cuts messages out of a stream, [`Encode`] writes answers into it. [`LengthPrefixed`] and
//! [`Http1`](http1::Http1) are built in; a third party writes its own against the same two traits.

mod codec;
mod error;
pub mod http1;
pub mod length_prefixed;
mod message;

pub use codec::{After, Decode, Encode, Protocol, Refusal};
pub use error::ProtocolError;
pub use length_prefixed::LengthPrefixed;
pub use message::{Message, Peer};
