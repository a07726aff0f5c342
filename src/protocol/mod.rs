//! Sans-IO wire formats.
pub mod codec;
pub use codec::{After, Decode, Encode, EncodeError, Protocol, ProtocolError, Refusal};
