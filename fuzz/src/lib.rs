//! What the fuzz targets share: how an input begins, and the small buffer and the cases of the crate's own tests.
//!
//! The inputs of the protocol targets are bytes of a stream behind a few bytes of settings. So a seed is made of a case
//! by putting these in front (`examples/seeds.rs`), and a finding becomes a case by taking them off
//! (`examples/as_case.rs`).

#![forbid(unsafe_code)]

#[path = "../../tests/common/http1_cases.rs"]
pub mod http1_cases;
#[path = "../../tests/common/splits.rs"]
pub mod splits;

pub mod crowd;
pub mod user;
pub mod wire;

use std::sync::LazyLock;

use sluicegate::LengthPrefixed;
use sluicegate::http1::{Http1, Limits};

/// The largest payload of a length-prefixed stream with small limits: near enough to be reached.
pub const SMALL_PAYLOAD_MAX: usize = 20;

/// What the first byte of an input says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Limits that a short input can reach, and not the default ones.
    pub small: bool,
    /// The stream is length-prefixed and not HTTP. Only where the target has the choice.
    pub length_prefixed: bool,
}

impl Settings {
    /// The settings, and what follows them; `None` for an empty input.
    pub fn read(input: &[u8]) -> Option<(Self, &[u8])> {
        let (first, rest) = input.split_first()?;
        Some((Self { small: first & 1 != 0, length_prefixed: first & 2 != 0 }, rest))
    }

    /// The first byte of an input with these settings.
    pub fn write(self) -> u8 {
        u8::from(self.small) | u8::from(self.length_prefixed) << 1
    }

    /// The limits of an HTTP stream.
    pub fn http1_limits(self) -> Limits {
        if self.small { small_limits() } else { Limits::default() }
    }

    /// A fresh connection's HTTP. A clone, so that heads which earlier inputs had are known.
    pub fn http1(self) -> Http1 {
        static SMALL: LazyLock<Http1> = LazyLock::new(|| Http1::with_limits(small_limits()));
        if self.small { SMALL.clone() } else { Http1::default() }
    }

    /// A fresh connection of the other protocol.
    pub fn framing(self) -> LengthPrefixed {
        if self.small { LengthPrefixed::new(SMALL_PAYLOAD_MAX) } else { LengthPrefixed::default() }
    }
}

fn small_limits() -> Limits {
    Limits { head_max: 100, fields_max: 4, target_max: 16, body_max: 8, chunk_framing_max: 20 }
}

/// The lengths of the pieces in which a stream arrives: at the front of `input`, behind their count.
pub fn read_pieces(input: &[u8]) -> Option<(&[u8], &[u8])> {
    const PIECES_MAX: u8 = 16;
    let (count, rest) = input.split_first()?;
    let pieces = rest.split_at_checked(usize::from(count % (PIECES_MAX + 1)))?;
    Some(pieces).filter(|(lengths, _)| !lengths.is_empty())
}

/// Cuts `stream` into pieces of these lengths, over and over; a length of 0 stands for 256.
pub fn cut<'s>(stream: &'s [u8], lengths: &[u8]) -> impl Iterator<Item = &'s [u8]> {
    let mut lengths = lengths.iter().cycle();
    let mut rest = stream;
    std::iter::from_fn(move || {
        let length = lengths.next().map_or(256, |&length| if length == 0 { 256 } else { usize::from(length) });
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}
