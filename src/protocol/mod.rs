//! Sans-IO wire formats.
pub mod codec;
pub mod length_prefixed;
pub use codec::{After, Decode, Encode, EncodeError, Protocol, ProtocolError, Refusal};
pub use length_prefixed::LengthPrefixed;
